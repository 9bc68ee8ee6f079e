import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { crc32 } from "node:zlib";
import type { Database } from "better-sqlite3";
import { damagedError } from "./sqlite-error.ts";
import { WalFrames } from "./wal-frames.ts";

/** Name of the file of checksums: the database's and this. */
export const SUMS_SUFFIX = "-sums";

/** "EMCASUM1", the page size, and four bytes that are free. */
const HEADER_BYTES = 16;
const MAGIC = "EMCASUM1";
const SUM_BYTES = 4;

/** Pages read at once. */
const PAGES_AT_ONCE = 256;

/** How far the WAL goes, as SQLite says. */
export interface WalExtent {
  /** Frames that are committed. */
  readonly frames: number;
  /** Frames of those whose pages are in the database file. */
  readonly moved: number;
}

/** Asks SQLite how far the WAL goes (`NOOP` moves nothing; SQLite 3.51). Not inside a transaction. */
export function walExtent(database: Database): WalExtent {
  const [row] = database.pragma("wal_checkpoint(NOOP)") as { log: number; checkpointed: number }[];
  return { frames: Math.max(0, row?.log ?? 0), moved: Math.max(0, row?.checkpointed ?? 0) };
}

/**
 * A checksum (CRC-32) of each page of a database file, in a file beside it. SQLite itself has none: a byte that changes
 * inside a value is found by none of its checks, and a file in which some pages are of another time may pass them.
 *
 * What keeps the checksums true: in WAL mode a page of the database file is only written by a checkpoint, from the WAL.
 * So `take` takes the checksums of the WAL's pages before each checkpoint, SQLite's at its close included, and there is
 * no automatic one. A page that is in the WAL is not checked, since its state in the file counts for nothing (SQLite
 * checks the WAL's frames itself, when it reads them after a crash); so a crash at any moment raises no false alarm.
 * Whatever else wrote to the file, or put another in its place, shows as a page with a wrong checksum.
 *
 * The database file is kept open until `close`, which comes after SQLite's own close: closing any descriptor of a file
 * drops all of the process's POSIX locks on it, SQLite's included.
 */
export class PageSums {
  readonly #path: string;
  readonly #database: number;
  readonly #sums: number;
  readonly #wal: WalFrames;
  readonly #pageBytes: number;
  /** What of the WAL is taken: that many frames of the WAL with this salt. */
  #salt = "";
  #taken = 0;
  #isClosed = false;

  /** @param pageBytes SQLite's page size of the file */
  constructor(path: string, pageBytes: number) {
    this.#path = path;
    this.#pageBytes = pageBytes;
    this.#wal = new WalFrames(path, pageBytes);
    this.#database = openSync(path, "r");
    try {
      this.#sums = openSync(path + SUMS_SUFFIX, constants.O_RDWR | constants.O_CREAT, 0o644);
    } catch (error) {
      closeSync(this.#database);
      throw error;
    }
  }

  /** Whether there are checksums; a file of an earlier EMCache has none, and they may have been removed. */
  get isThere(): boolean {
    const header = Buffer.alloc(HEADER_BYTES);
    const found = readSync(this.#sums, header, 0, HEADER_BYTES, 0);
    return (
      found === HEADER_BYTES && header.toString("latin1", 0, 8) === MAGIC && header.readUInt32LE(8) === this.#pageBytes
    );
  }

  /** Takes the checksums of all pages as they are in the file now, for whoever knows that they are right. */
  takeAll(): void {
    ftruncateSync(this.#sums, 0);
    const pages = Math.floor(fstatSync(this.#database).size / this.#pageBytes);
    for (let page = 1; page <= pages; page += PAGES_AT_ONCE) {
      const found = this.#readPages(page, Math.min(PAGES_AT_ONCE, pages - page + 1));
      this.#writeRun(
        page,
        found.map((content) => (content === null ? 0 : sumOf(content))),
      );
    }
    const header = Buffer.alloc(HEADER_BYTES);
    header.write(MAGIC, "latin1");
    header.writeUInt32LE(this.#pageBytes, 8);
    // Last: what was broken off is not taken for whole.
    fdatasyncSync(this.#sums);
    writeSync(this.#sums, header, 0, HEADER_BYTES, 0);
  }

  /** Takes the checksums of what was committed, and makes them survive a loss of power. To be called before each checkpoint. */
  take(extent: WalExtent): void {
    const salt = this.#wal.salt();
    const from = salt === this.#salt ? this.#taken : 0;
    if (extent.frames === from) return;
    const sums = new Map<number, number>();
    this.#wal.forEach(from, extent.frames, (page, content) => sums.set(page, sumOf(content)));
    let run: number[] = [];
    let first = 0;
    for (const [page, sum] of [...sums].sort(([left], [right]) => left - right)) {
      if (page !== first + run.length) {
        this.#writeRun(first, run);
        [first, run] = [page, []];
      }
      run.push(sum);
    }
    this.#writeRun(first, run);
    fdatasyncSync(this.#sums);
    this.#salt = salt;
    this.#taken = extent.frames;
  }

  /**
   * Compares pages with their checksums, from page `from` (1 is the first) at most `count`. Returns the page to go on
   * with, 1 after the last. Throws `cache_damaged`.
   */
  check(from: number, count: number, extent: WalExtent): number {
    const inWal = new Set<number>();
    if (extent.moved < extent.frames) this.#wal.forEach(0, extent.frames, (page) => inWal.add(page));
    const sumCount = Math.floor((fstatSync(this.#sums).size - HEADER_BYTES) / SUM_BYTES);
    const end = Math.min(from + count, sumCount + 1);
    for (let page = from; page < end; page += PAGES_AT_ONCE) {
      const size = Math.min(PAGES_AT_ONCE, end - page);
      const sums = Buffer.alloc(size * SUM_BYTES);
      readSync(this.#sums, sums, 0, sums.length, HEADER_BYTES + (page - 1) * SUM_BYTES);
      for (const [index, content] of this.#readPages(page, size).entries()) {
        const sum = sums.readUInt32LE(index * SUM_BYTES);
        // 0: a page that SQLite never wrote.
        if (sum === 0 || inWal.has(page + index)) continue;
        if (content === null) throw damagedError(this.#path, `page ${page + index} is missing`, "truncated");
        if (sumOf(content) !== sum) {
          throw damagedError(this.#path, `page ${page + index} is not what was written`, "page-checksum");
        }
      }
    }
    return end > sumCount ? 1 : end;
  }

  /** Number of pages that fit `bytes`. */
  pagesOf(bytes: number): number {
    return Math.floor(bytes / this.#pageBytes);
  }

  /** Bytes of the database file. */
  sizeBytes(): number {
    return fstatSync(this.#database).size;
  }

  /** When the database file was last written: ns since the epoch. */
  writtenAtNs(): bigint {
    return fstatSync(this.#database, { bigint: true }).mtimeNs;
  }

  /** Whether the WAL that SQLite writes to still has its name. */
  isWalInPlace(): boolean {
    return this.#wal.isInPlace();
  }

  /** Removes the checksums: they are no longer kept true. The next opening checks the file otherwise, and takes them anew. */
  forget(): void {
    rmSync(this.#path + SUMS_SUFFIX, { force: true });
  }

  /** After SQLite's close. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#wal.close();
    closeSync(this.#sums);
    closeSync(this.#database);
  }

  /** Null for what lies beyond the file's end. */
  #readPages(first: number, count: number): (Buffer | null)[] {
    const buffer = Buffer.allocUnsafe(count * this.#pageBytes);
    const found = readSync(this.#database, buffer, 0, buffer.length, (first - 1) * this.#pageBytes);
    return Array.from({ length: count }, (_, index) => {
      const end = (index + 1) * this.#pageBytes;
      return end <= found ? buffer.subarray(index * this.#pageBytes, end) : null;
    });
  }

  #writeRun(first: number, sums: readonly number[]): void {
    if (sums.length === 0) return;
    const bytes = Buffer.allocUnsafe(sums.length * SUM_BYTES);
    for (const [index, sum] of sums.entries()) bytes.writeUInt32LE(sum, index * SUM_BYTES);
    writeSync(this.#sums, bytes, 0, bytes.length, HEADER_BYTES + (first - 1) * SUM_BYTES);
  }
}

/** Never 0, which stands for no checksum. */
function sumOf(content: Buffer): number {
  return crc32(content) || 1;
}
