import { EmcacheError } from "@emcache/protocol";
import { Worker } from "node:worker_threads";
import type { RestoreAnswer, RestoreOrder, RestoreStart, RestoreState } from "./restore-message.ts";

/** Beside this file, as source or as built. */
const WORKER_URL = new URL(
  import.meta.url.endsWith(".ts") ? "./restore-worker.ts" : "./restore-worker.js",
  import.meta.url,
);

/** A worker thread that applies pages of the log to a copy of a snapshot; one order at a time. */
export class RestoreThread {
  readonly #worker: Worker;
  readonly #signal: AbortSignal;
  #answer = Promise.withResolvers<RestoreAnswer>();

  private constructor(start: RestoreStart, signal: AbortSignal) {
    this.#signal = signal;
    this.#worker = new Worker(WORKER_URL, { workerData: start });
    this.#worker.on("message", (answer: RestoreAnswer) => this.#answer.resolve(answer));
    this.#worker.once("error", (error) => this.#answer.reject(error));
    this.#worker.once("exit", (code) =>
      this.#answer.reject(new EmcacheError("internal", `The restoring worker ended with code ${code}`)),
    );
  }

  /** Starts it; `signal` ends it at any time. */
  static async start(
    start: RestoreStart,
    signal: AbortSignal,
  ): Promise<{ readonly thread: RestoreThread; readonly state: RestoreState }> {
    signal.throwIfAborted();
    const thread = new RestoreThread(start, signal);
    try {
      return { thread, state: await thread.#next() };
    } catch (error) {
      await thread.end();
      throw error;
    }
  }

  /** @throws EmcacheError of the file; the signal's reason */
  async order(order: RestoreOrder): Promise<RestoreState> {
    this.#answer = Promise.withResolvers<RestoreAnswer>();
    this.#worker.postMessage(order);
    return this.#next();
  }

  async end(): Promise<void> {
    // Nobody waits for what it says from now on.
    this.#answer.promise.catch(() => {});
    await this.#worker.terminate();
  }

  async #next(): Promise<RestoreState> {
    const onAbort = (): void => this.#answer.reject(this.#signal.reason as Error);
    this.#signal.addEventListener("abort", onAbort, { once: true });
    try {
      const answer = await this.#answer.promise;
      if (answer.error === undefined) return answer.state;
      const { code, message, ...options } = answer.error;
      throw new EmcacheError(code, message, options);
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
    }
  }
}
