import type { CacheFile } from "@emcache/cache-file";

/** SQLite counts by reading an index, while the process's caches wait: at most 1 % of the time goes there. */
const COST_FACTOR = 100;
const INTERVAL_MS_MIN = 200;

/** The number of rows of a cache, counted again when they may have changed and enough time has gone by. */
export class RowCounter {
  /** As last counted. */
  rows = 0;
  #isStale = true;
  #dueAtMs = 0;

  /** Rows were applied. */
  changed(): void {
    this.#isStale = true;
  }

  /** Another table is served: the old number says nothing of it. */
  replaced(): void {
    this.#isStale = true;
    this.#dueAtMs = 0;
  }

  /** Monotonic ms at which rows want to be counted; Infinity while the number is right. */
  get dueAtMs(): number {
    return this.#isStale ? this.#dueAtMs : Infinity;
  }

  /** @param nowMs monotonic */
  count(file: CacheFile, nowMs: () => number): void {
    const startedAtMs = nowMs();
    if (!this.#isStale || startedAtMs < this.#dueAtMs) return;
    this.rows = file.rowCount();
    this.#isStale = false;
    this.#dueAtMs = startedAtMs + Math.max(INTERVAL_MS_MIN, (nowMs() - startedAtMs) * COST_FACTOR);
  }
}
