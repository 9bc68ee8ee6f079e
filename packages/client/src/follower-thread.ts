import { Worker } from "node:worker_threads";
import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";
import type { FollowMessage, FollowOrder } from "./follow-message.ts";
import type { FollowerOptions } from "./follower.ts";
import type { EntityStatus, FollowReport } from "./follow-report.ts";

/** A follower in a thread of its own; its report is told on this one. */
export class FollowerThread {
  readonly #worker: Worker;
  readonly #report: FollowReport;
  readonly #opened = Promise.withResolvers<readonly EntityStatus[]>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #watching = new Map<number, (position: number) => void>();
  #requests = 0;
  #failure: EmcacheError | null = null;

  constructor(options: FollowerOptions, report: FollowReport) {
    this.#report = report;
    this.#worker = new Worker(new URL("./follow-worker.ts", import.meta.url), { workerData: options });
    this.#worker.on("message", (message: FollowMessage) => this.#take(message));
    this.#worker.on("error", (error) => this.#fail(new EmcacheError("internal", error.message, { cause: error })));
    this.#worker.on("exit", () => {
      this.#opened.reject(this.#failure ?? new EmcacheError("client_closed", "the client was closed"));
      this.#ended.resolve();
    });
    // Whoever waits for the opening hears of it there.
    this.#opened.promise.catch(() => undefined);
  }

  /** Resolves when the files were looked for; throws what the follower threw. */
  get opened(): Promise<readonly EntityStatus[]> {
    return this.#opened.promise;
  }

  /** Resolves when the thread has ended, to the error that ended it, else to null. */
  async ended(): Promise<EmcacheError | null> {
    await this.#ended.promise;
    return this.#failure;
  }

  /** Whether each change of an entity's rows is told; resolves to the position from which on. */
  watchRows(entity: string, isWatched: boolean): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    const request = (this.#requests += 1);
    this.#watching.set(request, resolve);
    this.#order({ kind: "watch", request, entity, isWatched });
    return Promise.race([promise, this.#ended.promise.then(() => 0)]);
  }

  /** Stops following; resolves when the files are closed. */
  async close(): Promise<void> {
    this.#order({ kind: "close" });
    await this.#ended.promise;
  }

  #order(order: FollowOrder): void {
    this.#worker.postMessage(order);
  }

  #take(message: FollowMessage): void {
    switch (message.kind) {
      case "opened":
        this.#opened.resolve(message.statuses);
        return;
      case "status":
        this.#report.status(message.status);
        return;
      case "rows-changed":
        this.#report.rowsChanged(message.entity);
        return;
      case "changes":
        void this.#report.changes(message.entity, message.changes).then(() => this.#order({ kind: "taken" }));
        return;
      case "watching":
        this.#watching.get(message.request)?.(message.position);
        this.#watching.delete(message.request);
        return;
      case "failed": {
        const code = Object.hasOwn(ERROR_CATALOGUE, message.code) ? (message.code as ErrorCode) : "internal";
        this.#fail(new EmcacheError(code, message.message));
        return;
      }
      case "closed":
        return;
    }
  }

  #fail(error: EmcacheError): void {
    this.#failure = error;
    this.#opened.reject(error);
  }
}
