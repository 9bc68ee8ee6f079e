import type { LogRead } from "./log-read.ts";
import type { OplogPage, PageRow } from "./oplog-page.ts";

/** A stretch of the tail that lies in one batch. */
interface Stretch {
  readonly first: number;
  readonly last: number;
  readonly tag: string;
  readonly rows: readonly PageRow[];
  readonly versions: ReadonlySet<number>;
  readonly bytes: number;
}

/** What an object costs beside its texts, about. */
const ROW_BYTES = 200;
const STRETCH_BYTES = 300;

/** Where a tail begins: just after a position of a log. */
export interface TailStart {
  readonly logId: string;
  readonly floor: number;
  readonly position: number;
  readonly tag: string;
}

/** What is read from a tail. */
export interface TailQuery {
  readonly after: number;
  readonly versions: ReadonlySet<number>;
  readonly limit: number;
  /** The answer ends with the row that reaches this many bytes. */
  readonly bytesMax: number;
}

/**
 * The newest part of the log in memory, without gaps: what many readers who are nearly at the head want. The oldest
 * stretches go when it holds more than `bytesMax`; so it may be empty, and still knows where the log's end is.
 */
export class LogTail {
  readonly logId: string;
  readonly #bytesMax: number;
  #floor: number;
  #stretches: Stretch[] = [];
  #bytes = 0;
  /** The position before the first held one, and its tag. */
  #start: number;
  #startTag: string;

  constructor({ logId, floor, position, tag }: TailStart, bytesMax: number) {
    this.logId = logId;
    this.#floor = floor;
    this.#start = position;
    this.#startTag = tag;
    this.#bytesMax = bytesMax;
  }

  /** The last position that it knows of. */
  get end(): number {
    return this.#stretches.at(-1)?.last ?? this.#start;
  }

  get endTag(): string {
    return this.#stretches.at(-1)?.tag ?? this.#startTag;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The lowest position of the log itself, as far as this process has heard. */
  get floor(): number {
    return this.#floor;
  }

  /** Whether everything after a position is held. */
  covers(after: number): boolean {
    return after >= this.#start && after <= this.end;
  }

  /** Whether a page that was read after a position of this tail tells of the same history. */
  agrees(after: number, page: Pick<OplogPage, "logId" | "tagAtFrom">): boolean {
    return page.logId === this.logId && page.tagAtFrom === this.tagAt(after);
  }

  /** Tag of the batch that holds a position; null where that is not held. */
  tagAt(position: number): string | null {
    if (position === this.#start) return this.#startTag;
    return position < this.#start ? null : (this.#stretches[this.#indexOf(position)]?.tag ?? null);
  }

  /** Takes an unfiltered page that begins at or before its end and agrees with it; what is held already is skipped. */
  append(page: OplogPage): void {
    if (page.floor > this.#floor) this.#floor = page.floor;
    let index = 0;
    for (const { first, count, tag } of page.batches) {
      const last = first + count - 1;
      const from = Math.max(first, this.end + 1);
      const rows: PageRow[] = [];
      for (; index < page.rows.length && (page.rows[index] as PageRow).position <= last; index++) {
        const row = page.rows[index] as PageRow;
        if (row.position >= from) rows.push(row);
      }
      if (from <= last) this.#add({ first: from, last, tag, rows });
    }
  }

  /** Lets go of the oldest until it is within its bound. Called after those who wait were served from it. */
  trim(): void {
    let count = 0;
    for (const stretch of this.#stretches) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#bytes -= stretch.bytes;
      this.#start = stretch.last;
      this.#startTag = stretch.tag;
      count++;
    }
    if (count > 0) this.#stretches = this.#stretches.slice(count);
  }

  /** What is held after a position that it covers. */
  read({ after, versions, limit, bytesMax }: TailQuery): LogRead {
    const rows: PageRow[] = [];
    let bytes = 0;
    let isEnded = false;
    let position = Math.max(after, this.end);
    let tag = this.endTag;
    for (let index = this.#indexOf(after + 1); index < this.#stretches.length && !isEnded; index++) {
      const stretch = this.#stretches[index] as Stretch;
      if (!overlap(versions, stretch.versions)) continue;
      for (const row of stretch.rows) {
        if (row.position <= after || !versions.has(row.version)) continue;
        rows.push(row);
        bytes += sizeOf(row);
        isEnded = rows.length >= limit || bytes >= bytesMax;
        if (!isEnded) continue;
        position = row.position;
        tag = stretch.tag;
        break;
      }
    }
    const { logId, floor } = this;
    return { logId, floor, head: this.end, rows, position, tag, tagAtFrom: this.tagAt(after) };
  }

  #add({ first, last, tag, rows }: Pick<Stretch, "first" | "last" | "tag" | "rows">): void {
    const bytes = rows.reduce((sum, row) => sum + sizeOf(row), STRETCH_BYTES);
    this.#stretches.push({ first, last, tag, rows, bytes, versions: new Set(rows.map(({ version }) => version)) });
    this.#bytes += bytes;
  }

  /** Index of the stretch that holds a position; where none does, of the first one above it. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#stretches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#stretches[middle] as Stretch).last < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** About what a row costs in memory, and in an answer. */
function sizeOf(row: PageRow): number {
  return ROW_BYTES + row.docId.length + (row.data?.length ?? 0);
}

function overlap(left: ReadonlySet<number>, right: ReadonlySet<number>): boolean {
  for (const version of left) if (right.has(version)) return true;
  return false;
}
