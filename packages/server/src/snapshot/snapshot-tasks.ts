import { runSnapshotTask } from "./run-snapshot-task.ts";
import type { SnapshotTask, SnapshotTaskResults } from "./snapshot-task.ts";

/** Two: a client's small file need not wait for a large build, and more would only compete for the disk. */
const CONCURRENT_MAX = 2;

/** Runs tasks in worker threads, few at a time, first come first served; `stop` ends those that run. */
export class SnapshotTasks {
  readonly #waiting: (() => void)[] = [];
  readonly #stopped = new AbortController();
  #running = 0;

  /** Aborts when the tasks are stopped. */
  get signal(): AbortSignal {
    return this.#stopped.signal;
  }

  async run<T extends SnapshotTask>(task: T): Promise<SnapshotTaskResults[T["kind"]]> {
    if (this.#running >= CONCURRENT_MAX) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
    } else {
      this.#running += 1;
    }
    try {
      return await runSnapshotTask(task, this.signal);
    } finally {
      // The place goes to the next in line without becoming free in between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  stop(): void {
    this.#stopped.abort();
  }
}
