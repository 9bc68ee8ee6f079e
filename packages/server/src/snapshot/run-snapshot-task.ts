import { EmcacheError, type ErrorCode } from "@emcache/protocol";
import { Worker } from "node:worker_threads";
import type { SnapshotTask, SnapshotTaskResults } from "./snapshot-task.ts";

/** What the worker posts. */
type Answer =
  | { readonly result: unknown; readonly error?: undefined }
  | {
      readonly error: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint: string;
        readonly errors: readonly string[];
        readonly details: Readonly<Record<string, unknown>>;
      };
    };

/** Beside this file, as source or as built. */
const WORKER_URL = new URL(
  import.meta.url.endsWith(".ts") ? "./snapshot-worker.ts" : "./snapshot-worker.js",
  import.meta.url,
);

/**
 * Runs a task in a worker thread of its own, so that no file's size is felt by anything else in the process. A thread
 * a task (about 40 ms) instead of a kept one: it is ended for sure when `signal` aborts, whatever SQLite is doing.
 *
 * @throws EmcacheError of the task; the signal's reason
 */
export async function runSnapshotTask<T extends SnapshotTask>(
  task: T,
  signal: AbortSignal,
): Promise<SnapshotTaskResults[T["kind"]]> {
  signal.throwIfAborted();
  const worker = new Worker(WORKER_URL, { workerData: task });
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const onAbort = (): void => reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  worker.once("message", resolve);
  worker.once("error", reject);
  worker.once("exit", (code) => reject(new EmcacheError("internal", `The snapshot worker ended with code ${code}`)));
  try {
    const answer = await promise;
    if (answer.error === undefined) return answer.result as SnapshotTaskResults[T["kind"]];
    const { code, message, ...options } = answer.error;
    throw new EmcacheError(code, message, options);
  } finally {
    signal.removeEventListener("abort", onAbort);
    await worker.terminate();
  }
}
