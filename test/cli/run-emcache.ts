import { spawn } from "node:child_process";
import { once } from "node:events";
import { emcacheProgram } from "../support/emcache-process.ts";

export interface RunResult {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

interface RunOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Sent to its standard input. */
  readonly input?: string;
}

/** Runs the command line to its end, as a user does; a run that hangs is killed, and has exit code null. */
export async function runEmcache(args: readonly string[], { cwd, env = {}, input }: RunOptions): Promise<RunResult> {
  const child = spawn(emcacheProgram, args, {
    cwd,
    env: { ...process.env, EMCACHE_CONFIG: "", EMCACHE_URL: undefined, EMCACHE_TOKEN: undefined, ...env },
    timeout: 100_000,
    killSignal: "SIGKILL",
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.end(input ?? "");
  const [exitCode] = (await once(child, "close")) as [number | null];
  return { exitCode, out, err };
}
