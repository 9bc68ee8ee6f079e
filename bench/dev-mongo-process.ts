import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** dev-mongo in a process of its own. */
export interface DevMongoProcess {
  readonly uri: string;
  readonly pid: number;
  stop(): void;
}

/** @param oplogMiBMax how much history it keeps; a benchmark that reads a whole history again needs much */
export async function startDevMongo(oplogMiBMax: number): Promise<DevMongoProcess> {
  const program = join(import.meta.dirname, "../packages/dev-mongo/src/main.ts");
  const server = spawn(process.execPath, [program, "--oplog-mib-max", String(oplogMiBMax)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { uri } = JSON.parse(await firstLine(server.stdout)) as { uri: string };
  return { uri, pid: server.pid ?? 0, stop: () => void server.kill() };
}

async function firstLine(stream: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stream })) return line;
  throw new Error("the server ended while starting");
}
