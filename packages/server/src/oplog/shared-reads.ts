import { EmcacheError } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { LogRead } from "./log-read.ts";
import { type ReadableLog, readLog } from "./read-log.ts";

/** Reads of the log at once: appends and caches need connections of the same pool. */
const CONCURRENT_MAX = 4;
/** Different reads that may wait for their turn. Beyond, a reader is told to come back. */
const QUEUED_MAX = 500;

/** What one of these reads asks for; equal ones share one read. */
export interface SharedQuery {
  readonly after: number;
  readonly versions: readonly number[];
  readonly limit: number;
}

/**
 * Reads of the log further back than the tail in memory: those that ask the same at the same time share one statement,
 * and a full answer is kept a while, because whoever starts from the same snapshot asks the same.
 */
export class SharedReads {
  readonly #log: ReadableLog;
  readonly #keptBytesMax: number;
  readonly #signal: AbortSignal;
  readonly #running = new Map<string, Promise<LogRead>>();
  readonly #kept = new Map<string, { readonly read: LogRead; readonly bytes: number }>();
  readonly #queue: (() => void)[] = [];
  #keptBytes = 0;
  #runningCount = 0;

  constructor(log: ReadableLog, keptBytesMax: number, signal: AbortSignal) {
    this.#log = log;
    this.#keptBytesMax = keptBytesMax;
    this.#signal = signal;
  }

  /**
   * The rows after a position; `signal` ends the wait of this caller only.
   *
   * @throws EmcacheError `position_too_old`, `oplog_hole`, `postgres_unavailable`, `overloaded`
   */
  async read(query: SharedQuery, signal: AbortSignal): Promise<LogRead> {
    const key = `${query.after} ${query.limit} ${query.versions.join(",")}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept.read;
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#run(query, key).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return untilAborted(running, signal);
  }

  /** Of the answers that are kept. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Forgets what was kept: the log's history is another one. */
  reset(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
  }

  async #run({ after, versions, limit }: SharedQuery, key: string): Promise<LogRead> {
    await this.#turn();
    try {
      const read = await readLog(this.#log, { after, versions, limit, offset: 0, signal: this.#signal });
      // Rows that follow it are there already, so it is what every later read of the same would give.
      if (read.position < read.head) this.#keep(key, read);
      return read;
    } finally {
      this.#runningCount--;
      this.#queue.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#runningCount >= CONCURRENT_MAX) {
      if (this.#queue.length >= QUEUED_MAX) {
        throw new EmcacheError("overloaded", `${QUEUED_MAX} reads of the log are waiting for their turn`);
      }
      await untilAborted(new Promise<void>((resolve) => this.#queue.push(resolve)), this.#signal);
    }
    this.#runningCount++;
  }

  #keep(key: string, read: LogRead): void {
    const bytes = read.rows.reduce((sum, row) => sum + 200 + row.docId.length + (row.data?.length ?? 0), 500);
    if (bytes > this.#keptBytesMax / 4) return;
    this.#kept.set(key, { read, bytes });
    this.#keptBytes += bytes;
    for (const [oldest, { bytes: freed }] of this.#kept) {
      if (this.#keptBytes <= this.#keptBytesMax) break;
      this.#kept.delete(oldest);
      this.#keptBytes -= freed;
    }
  }
}
