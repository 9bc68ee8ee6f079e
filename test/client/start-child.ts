import { spawn } from "node:child_process";
import { once } from "node:events";

/** Runs a program to its end, beside this process's own servers (which `execFileSync` would stop). */
export async function startChild(
  command: string,
  args: readonly string[],
  cwd: string,
): Promise<{ out: string; code: number | null }> {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { out, code };
}
