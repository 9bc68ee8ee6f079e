import { EmcacheError } from "@emcache/protocol";
import type { OplogReader } from "../oplog/oplog-reader.ts";

/** Rows of a page: only their ids are kept. */
const PAGE_ROWS_MAX = 5_000;

/** A cache of this machine that is further behind has other worries than a verification. */
const CACHE_TIMEOUT_MS = 120_000;

export interface LogFollowerOptions {
  readonly oplog: Pick<OplogReader, "head" | "page">;
  readonly version: number;
  /** Resolves once the version's cache has applied the position. */
  readonly waitForCache: (position: number, signal: AbortSignal) => Promise<void>;
  /** Told of documents that the stream touched, once the cache has what the log has of them. */
  readonly onTouched: (docIds: ReadonlySet<string>) => void;
}

/** Follows what the stream logged of one entity version while it is verified. */
export class LogFollower {
  readonly #options: LogFollowerOptions;
  /** Of each document that was touched since `forget`, the position of its last row. */
  #touched = new Map<string, number>();
  #position = 0;

  constructor(options: LogFollowerOptions) {
    this.#options = options;
  }

  /** Everything up to here was followed, and is in the cache. */
  get position(): number {
    return this.#position;
  }

  get touchedCount(): number {
    return this.#touched.size;
  }

  /** Goes to the log's head without looking at what is before it. */
  async start(signal: AbortSignal): Promise<void> {
    const { head } = await this.#options.oplog.head(signal);
    await this.#untilCached(head, signal);
    this.#position = head;
  }

  /** Follows to the log's head as it is now, and waits until the cache has it. */
  async advance(signal: AbortSignal): Promise<void> {
    const { oplog, version, onTouched } = this.#options;
    const { head } = await oplog.head(signal);
    if (head <= this.#position) return;
    await this.#untilCached(head, signal);
    while (this.#position < head) {
      const page = await oplog.page({ after: this.#position, limit: PAGE_ROWS_MAX, versions: [version], signal });
      const ids = new Set<string>();
      // The cache may not have what came after the head: its next turn.
      const rows = page.rows.filter(({ position }) => position <= head);
      for (const { operation, origin, docId, position } of rows) {
        if (operation === "sync_start" || operation === "sync_end") throw copiedAnew(version);
        if (origin !== "stream") continue;
        ids.add(docId);
        this.#touched.set(docId, position);
      }
      if (ids.size > 0) onTouched(ids);
      this.#position = Math.min(head, page.position);
    }
  }

  /** Whether the stream touched the document after the position, as far as was followed. */
  hasTouched(docId: string, after: number): boolean {
    return (this.#touched.get(docId) ?? 0) > after;
  }

  /** Forgets which documents were touched up to now. */
  forget(): void {
    this.#touched = new Map();
  }

  async #untilCached(position: number, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.timeout(CACHE_TIMEOUT_MS);
    try {
      await this.#options.waitForCache(position, AbortSignal.any([signal, limit]));
    } catch (error) {
      if (signal.aborted || !limit.aborted) throw error;
      throw new EmcacheError(
        "verification_not_ready",
        `The cache did not get to position ${position} within ${CACHE_TIMEOUT_MS / 1000} s`,
      );
    }
  }
}

function copiedAnew(version: number): EmcacheError {
  return new EmcacheError("verification_not_ready", `Version ${version} is being copied anew`, {
    hint: "The copy replaces the whole table; verify again once it is complete.",
  });
}
