import type { OplogPage } from "../oplog/oplog-reader.ts";
import type { ReplicateLog } from "./replicate-port.ts";

/** Rows a page: 5,000 measured fastest end to end; the reader ends a page of large rows earlier, by bytes. */
const PAGE_ROWS = 5000;
/** Two pages are alive at once, each several times on its way from the socket into SQLite. */
const PAGE_BYTES = 4 * 1024 * 1024;

interface Ahead {
  readonly after: number;
  /** Null: all. */
  readonly versions: ReadonlySet<number> | null;
  readonly page: Promise<OplogPage>;
}

/** Reads pages of the log, at most one ahead of what is being applied. */
export class PageFetcher {
  readonly #log: ReplicateLog;
  #ahead: Ahead | null = null;

  constructor(log: ReplicateLog) {
    this.#log = log;
  }

  /**
   * The page after a position, of some versions or of all (null); begins to read the one after it, if there is more. Throws what
   * the log throws.
   */
  async next(after: number, versions: readonly number[] | null, signal: AbortSignal): Promise<OplogPage> {
    const ahead = this.#ahead;
    this.#ahead = null;
    const isUsable = ahead?.after === after && includes(ahead.versions, versions);
    const page = await (isUsable ? ahead.page : this.#read(after, versions, signal));
    if (page.full && page.position > after) {
      const next: Ahead = {
        after: page.position,
        versions: versions === null ? null : new Set(versions),
        page: this.#read(page.position, versions, signal),
      };
      // Whoever takes it sees the error; one that nobody takes is read again.
      next.page.catch(() => undefined);
      this.#ahead = next;
    }
    return page;
  }

  /** Lets go of what was read ahead. */
  reset(): void {
    this.#ahead = null;
  }

  #read(after: number, versions: readonly number[] | null, signal: AbortSignal): Promise<OplogPage> {
    const wanted = versions === null ? {} : { versions: [...versions] };
    return this.#log.page({ after, limit: PAGE_ROWS, bytesMax: PAGE_BYTES, ...wanted, signal });
  }
}

function includes(versions: ReadonlySet<number> | null, wanted: readonly number[] | null): boolean {
  if (versions === null) return true;
  return wanted !== null && wanted.every((version) => versions.has(version));
}
