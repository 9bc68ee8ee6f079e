import { execFile } from "node:child_process";
import { readFile, readlink, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { sleep } from "../runtime/sleep.ts";

/** How long a server that is told to stop in order may take before it is told to stop at once. */
const FAST_STOP_MS = 20_000;

/**
 * Ends a server that an earlier process of ours left behind in `clusterDir` (we were killed, it lived on), and removes
 * a `postmaster.pid` that names no such server: PostgreSQL refuses to start while any process of its user has that
 * number, whatever program it is. To be called only by the holder of the data directory's lock.
 *
 * @returns what was found.
 */
export async function clearLeftServer(
  clusterDir: string,
  signal: AbortSignal,
): Promise<"nothing" | "stale_file" | "orphan_stopped"> {
  const pidFile = join(clusterDir, "postmaster.pid");
  const pid = await postmasterPid(pidFile);
  if (pid === null) return "nothing";
  if (!(await isServerOf(pid, clusterDir))) {
    await rm(pidFile, { force: true });
    return "stale_file";
  }
  // Fast: its clients are ours and gone. Then, if it hangs, immediate: it recovers from its log at the next start.
  for (const stopSignal of ["SIGINT", "SIGQUIT", "SIGKILL"] as const) {
    sendSignal(pid, stopSignal);
    for (let waitedMs = 0; waitedMs < FAST_STOP_MS; waitedMs += 20) {
      if (!(await isServerOf(pid, clusterDir))) {
        await rm(pidFile, { force: true });
        return "orphan_stopped";
      }
      await sleep(20, signal);
    }
  }
  return "orphan_stopped";
}

/** First line of `postmaster.pid`; null where there is no such file or nothing sensible in it. */
async function postmasterPid(pidFile: string): Promise<number | null> {
  const text = await readFile(pidFile, "utf8").catch(() => "");
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 1 ? pid : null;
}

/** Whether the process is a PostgreSQL server on this directory: such a server's working directory is its data. */
async function isServerOf(pid: number, clusterDir: string): Promise<boolean> {
  try {
    if (process.platform === "linux") {
      return (await readlink(`/proc/${pid}/cwd`)) === (await realpath(clusterDir));
    }
    const { stdout } = await promisify(execFile)("ps", ["-o", "command=", "-p", String(pid)]);
    return stdout.includes("postgres") && stdout.includes(clusterDir);
  } catch {
    return false;
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone, which is what was wanted.
  }
}
