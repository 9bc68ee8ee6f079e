import { statSync } from "node:fs";
import type { Database } from "better-sqlite3";
import { type PageSums, walExtent } from "./page-sums.ts";
import { damagedError } from "./sqlite-error.ts";

/** A checkpoint's size. 64 MB loads 1.2–1.8 times as fast as SQLite's own 4 MB (fewer fsyncs of the file; measured). */
const CHECKPOINT_FRAMES = 16_000;

/** SQLite is asked how far the WAL goes after this many rows or commits: 0.1 ms each time, which a small commit would feel. */
const ROWS_UNASKED_MAX = 1_000;
const COMMITS_UNASKED_MAX = 50;

/** While a reader blocks checkpoints, the next one is tried when the WAL has grown by a quarter. */
const BLOCKED_GROWTH = 1.25;

/** A file that someone else wrote to, or the rest of one that was opened, is compared in steps of this size: 0.3 s each. */
const SUSPECT_CHECK_BYTES = 256 * 1024 * 1024;

/** Looks after an open cache file as a file: checkpoints, and whether it is still what was written. */
export class FileUpkeep {
  readonly #path: string;
  readonly #database: Database;
  readonly #sums: PageSums;
  readonly #inode: number;
  #dueFrames = CHECKPOINT_FRAMES;
  #rowsUnasked = 0;
  #commitsUnasked = 0;
  /** The page that is compared next. */
  #page: number;
  /** When the file was last written by us. */
  #writtenAtNs: bigint;
  /** Whether the pages from `#page` to the last are to be compared soon. */
  #isSuspect: boolean;

  constructor(path: string, opened: { database: Database; sums: PageSums; uncheckedFrom: number }) {
    this.#path = path;
    this.#database = opened.database;
    this.#sums = opened.sums;
    this.#page = opened.uncheckedFrom;
    this.#isSuspect = this.#page !== 1;
    this.#inode = statSync(path).ino;
    this.#writtenAtNs = opened.sums.writtenAtNs();
  }

  /** To be called after a commit of that many rows. */
  checkpointIfDue(rows: number): void {
    this.#rowsUnasked += rows;
    this.#commitsUnasked += 1;
    if (this.#rowsUnasked < ROWS_UNASKED_MAX && this.#commitsUnasked < COMMITS_UNASKED_MAX) return;
    this.#rowsUnasked = 0;
    this.#commitsUnasked = 0;
    const { frames, moved } = walExtent(this.#database);
    if (frames - moved < this.#dueFrames) return;
    const left = this.checkpoint("PASSIVE").framesLeft;
    this.#dueFrames = left === 0 ? CHECKPOINT_FRAMES : Math.max(CHECKPOINT_FRAMES, left * BLOCKED_GROWTH);
  }

  /** Moves the WAL into the file, as far as readers let it. Not inside a transaction. */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): { readonly isBusy: boolean; readonly framesLeft: number } {
    // Before ours hides that there was another's.
    this.#noticeWrite();
    this.#sums.take(walExtent(this.#database));
    const [row] = this.#database.pragma(`wal_checkpoint(${mode})`) as { busy: number }[];
    this.#writtenAtNs = this.#sums.writtenAtNs();
    const { frames, moved } = walExtent(this.#database);
    return { isBusy: row?.busy !== 0, framesLeft: frames - moved };
  }

  /**
   * Compares the next pages with their checksums, round and round, at most about `bytesMax`; more where the file was
   * written by someone else. Not inside a transaction. Throws `cache_damaged`.
   */
  check(bytesMax: number): void {
    this.requireInPlace();
    this.#noticeWrite();
    const bytes = this.#isSuspect ? Math.max(SUSPECT_CHECK_BYTES, bytesMax) : bytesMax;
    const extent = walExtent(this.#database);
    // The header page every time: the cheapest sign that another file's content is there.
    this.#sums.check(1, 1, extent);
    this.#page = this.#sums.check(this.#page, Math.max(1, this.#sums.pagesOf(bytes)), extent);
    if (this.#page === 1) this.#isSuspect = false;
  }

  /** Whether the files at the path are still those that are open. */
  get isInPlace(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode && this.#sums.isWalInPlace();
  }

  /** Throws `cache_damaged` once someone removed or replaced the file or its WAL. */
  requireInPlace(): void {
    if (this.isInPlace) return;
    const what = statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode ? "its WAL" : "it";
    throw damagedError(this.#path, `${what} was removed or replaced by another program`, "removed");
  }

  /** Closes the database, which moves the WAL into it. Closing twice does nothing. */
  close(): void {
    if (!this.#database.open) return;
    try {
      this.#sums.take(walExtent(this.#database));
    } catch {
      // A full disk: the next opening reads the file whole, for want of checksums.
      this.#sums.forget();
    } finally {
      this.#database.close();
      this.#sums.close();
    }
  }

  #noticeWrite(): void {
    const writtenAtNs = this.#sums.writtenAtNs();
    if (writtenAtNs === this.#writtenAtNs) return;
    this.#writtenAtNs = writtenAtNs;
    this.#isSuspect = true;
    this.#page = 1;
  }
}
