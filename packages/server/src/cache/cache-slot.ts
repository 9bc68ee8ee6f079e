import type { CacheFile, CacheRow, LogPoint } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import type { OplogPage, PageRow } from "../oplog/oplog-reader.ts";
import { Backoff } from "./backoff.ts";
import type { CacheDirectory } from "./cache-directory.ts";
import { toProblemLike, type CacheStatus } from "./cache-status.ts";
import { canGoOn, findStart } from "./find-start.ts";
import { openCacheFile, setAside } from "./open-cache-file.ts";
import type { ReplicateLog, ReplicateReport } from "./replicate-port.ts";
import { WalGuard } from "./wal-guard.ts";
import { RowCounter } from "./row-counter.ts";

/** A position that was read but held nothing for a cache is written after at most this time, */
const UNWRITTEN_MS_MAX = 1000;
/** or this many positions: what a restart then reads again is a page or two. */
const UNWRITTEN_POSITIONS_MAX = 10_000;

/** What a slot works with. */
export interface SlotContext {
  readonly directory: CacheDirectory;
  readonly log: ReplicateLog;
  readonly report: ReplicateReport;
  /** A WAL larger than this, and than twice its file, stops its cache until readers let it be emptied. */
  readonly walBytesMax: number;
  readonly nowMs: () => number;
}

/**
 * What a page brought to a cache: rows or nothing (`applied`), a switch to a complete copy, or that the file's history
 * is not the log's (`outdated`: it has to be replaced). `failed`: the slot keeps the error.
 */
export type DealResult = "applied" | "switched" | "outdated" | "failed";

/**
 * The cache of one entity version in this process: its file, where its next page begins, and what to do when either
 * fails. A damaged file is set aside, one that follows another log is removed, and one whose place in the log is gone
 * is placed anew with its data kept (and served) until the next copy is complete.
 *
 * A slot that failed keeps its place and is tried again later; others go on meanwhile.
 */
export class CacheSlot {
  readonly entity: Entity;
  readonly path: string;
  /** Whether the registry says that this version is the served one. */
  isLive: boolean;
  readonly #context: SlotContext;
  readonly #backoff = new Backoff();
  readonly #wal: WalGuard;
  readonly #rows = new RowCounter();
  #file: CacheFile | null = null;
  #cacheBytesMax = 0;
  /** Where the next page begins; a null tag is not known yet and taken over from the log. */
  #next: { position: number; tag: string | null } = { position: 0, tag: "" };
  /** Whether the file's own place in the log is gone, so that it is to be placed at `#next`. */
  #mustRebase = false;
  #isVerified = false;
  #isInTransaction = false;
  /** Whether a page to the log's end left it without data or a copy, though its version is live. */
  #isLeftEmpty = false;
  #hasAskedForCopy = false;
  #unwritten: (LogPoint & { readonly sinceMs: number }) | null = null;
  #error: unknown = null;
  #appliedAt = 0;
  #appliedRows = 0;

  constructor(entity: Entity, isLive: boolean, context: SlotContext) {
    this.entity = entity;
    this.isLive = isLive;
    this.path = context.directory.pathOf(entity);
    this.#context = context;
    this.#wal = new WalGuard(context.walBytesMax);
  }

  get version(): number {
    return this.entity.id;
  }

  get isOpen(): boolean {
    return this.#file !== null;
  }

  /** Whether the slot may be tried now. */
  get isDue(): boolean {
    return this.#backoff.dueAtMs <= this.#context.nowMs();
  }

  /** Whether an error holds. */
  get isFailed(): boolean {
    return this.#error !== null;
  }

  /** Monotonic ms at which the slot wants to be looked at again without a wake-up; Infinity if never. */
  get dueAtMs(): number {
    const retryAtMs = this.#error === null ? Infinity : this.#backoff.dueAtMs;
    const writeAtMs = this.#unwritten === null ? Infinity : this.#unwritten.sinceMs + UNWRITTEN_MS_MAX;
    return Math.min(retryAtMs, writeAtMs, this.#file === null ? Infinity : this.#rows.dueAtMs);
  }

  /** Where the next page begins. */
  get position(): number {
    return this.#next.position;
  }

  /** Whether a page has shown that the file's history is the log's. */
  get isVerified(): boolean {
    return this.#isVerified;
  }

  /** Whether the file has anything to show to readers. */
  get hasData(): boolean {
    return this.#file !== null && this.#file.dataState !== "empty";
  }

  /** Opens the file, or makes it, and finds where it goes on. Throws what the log throws; a file's failure is kept. */
  async open(logId: string, signal: AbortSignal): Promise<void> {
    try {
      const file = openCacheFile(this.entity, logId, this.#context);
      this.#file = file;
      file.setCacheBytesMax(this.#cacheBytesMax);
      this.#rows.changed();
      this.#next = { ...file.appliedPoint };
      if (await canGoOn(file, this.#context.log, signal)) return;
      this.#mustRebase = file.position > 0;
      await this.#startAnew("the cache is new", signal);
    } catch (error) {
      this.close();
      if (isOfFile(error)) this.fail(error);
      else throw error;
    }
  }

  /** Takes its rows from a page that began at `after`. */
  deal(page: OplogPage, after: number, rows: readonly PageRow[]): DealResult {
    const file = this.#file;
    if (file === null) return "failed";
    try {
      if (this.#wal.isBlocked) this.#wal.check(file);
      if (!this.#verify(file, page, after)) return "outdated";
      const switched = this.#apply(file, page, rows);
      this.#askIfMissed(file, page);
      this.#succeeded();
      return switched ? "switched" : "applied";
    } catch (error) {
      this.fail(error);
      return "failed";
    }
  }

  /** Its place in the log is gone: finds another one, keeping the data. Throws what the log throws. */
  async replace(reason: string, signal: AbortSignal): Promise<void> {
    const file = this.#file;
    if (file === null) return;
    this.#context.report.line("warn", "cache_outdated", { version: this.version, path: this.path }, reason);
    this.#mustRebase = true;
    this.#isVerified = false;
    this.#isInTransaction = false;
    this.#unwritten = null;
    await this.#startAnew(reason, signal);
  }

  /** Writes a position that is due; all of it where the process stops. */
  flush(isLast = false): void {
    const unwritten = this.#unwritten;
    if (this.#file === null || unwritten === null) return;
    const isDue =
      isLast ||
      this.#context.nowMs() - unwritten.sinceMs >= UNWRITTEN_MS_MAX ||
      unwritten.position - this.#file.position >= UNWRITTEN_POSITIONS_MAX;
    if (!isDue) return;
    try {
      this.#unwritten = null;
      this.#file.apply([], unwritten);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Counts rows again, unless that was long and not long ago. */
  countRows(): void {
    if (this.#file === null) return;
    try {
      this.#rows.count(this.#file, this.#context.nowMs);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Looks after the file from time to time: whether it is still what was written, how large its WAL is. */
  maintain(checkBytes: number): void {
    const file = this.#file;
    if (file === null) return;
    try {
      file.check(checkBytes);
      // One that is stopped for its WAL is looked at when it is tried again.
      if (!this.#wal.isBlocked) this.#wal.check(file);
    } catch (error) {
      this.fail(error);
    }
  }

  setCacheBytesMax(bytes: number): void {
    this.#cacheBytesMax = bytes;
    this.#file?.setCacheBytesMax(bytes);
  }

  /** Keeps an error, to try again later. A damaged file is set aside; the next `open` makes a new one. */
  fail(error: unknown): void {
    const { report, nowMs } = this.#context;
    this.#error = error;
    this.#backoff.failed(nowMs());
    this.#unwritten = null;
    const { code, detail } = toProblemLike(error);
    report.line("error", "cache_failed", { version: this.version, path: this.path, code }, detail);
    // What an open source transaction had read is gone with it; otherwise the next page begins where it would have.
    if (this.#file !== null && this.#isInTransaction) this.#next = { ...this.#file.appliedPoint };
    this.#isInTransaction = false;
    if (code !== "cache_damaged") return;
    this.close();
    try {
      setAside(this.entity, error, this.#context);
    } catch (asideError) {
      this.#error = asideError;
    }
  }

  /** Lets the file that was put beside take its place; the next `open` goes on from it. */
  adopt(): void {
    this.close();
    try {
      this.#context.directory.adopt(this.path);
    } catch (error) {
      this.fail(error);
    }
  }

  close(): void {
    try {
      this.#file?.close();
    } catch (error) {
      this.#context.report.line("warn", "cache_close_failed", { path: this.path }, toProblemLike(error).detail);
    }
    this.#file = null;
    this.#isVerified = false;
    this.#mustRebase = false;
    this.#isInTransaction = false;
    this.#unwritten = null;
  }

  /** @param head last position of the log, as far as known */
  status(head: number, logError: unknown): CacheStatus {
    const file = this.#file;
    const error = this.#error ?? logError;
    const isRead = file !== null && this.#isVerified && !this.#isInTransaction;
    const { position, tag } = isRead ? this.#next : { position: file?.position ?? 0, tag: file?.tag ?? "" };
    return {
      version: this.version,
      mode: file?.mode ?? "sync",
      dataState: file?.dataState ?? "empty",
      rows: this.#rows.rows,
      position,
      tag: tag ?? "",
      isVerified: this.#isVerified,
      lagEntries: Math.max(0, head - position),
      lastError: error === null ? null : toProblemLike(error),
      path: this.path,
      sizeBytes: file?.sizeBytes() ?? 0,
      walBytes: file?.walBytes() ?? 0,
      appliedRows: this.#appliedRows,
      appliedAt: this.#appliedAt,
    };
  }

  /** Goes to where the log can fill the file from, and asks for a copy where that is nowhere. */
  async #startAnew(reason: string, signal: AbortSignal): Promise<void> {
    const { log, report } = this.#context;
    const { position, isCopyMissing } = await findStart(log, this.version, signal);
    this.#next = { position, tag: null };
    // The first copy of a pending version has not begun yet.
    if (isCopyMissing && this.isLive) {
      this.#hasAskedForCopy = true;
      report.needsCopy(this.version, `${reason}, and the log no longer holds its last copy's begin`);
    }
  }

  /**
   * A live version's copy was in the log. A file that was read to the log's end and has neither data nor a copy under
   * way has missed it: the version was still pending when the file's start was looked for, and retention has taken the
   * copy's begin since. Two pages have to say so, because the first may be older than the version's state.
   */
  #askIfMissed(file: CacheFile, page: OplogPage): void {
    const isServed = file.dataState !== "empty" || file.isCopying;
    if (isServed) this.#hasAskedForCopy = false;
    const wasLeftEmpty = this.#isLeftEmpty;
    this.#isLeftEmpty = this.isLive && !isServed && !page.full && !this.#isInTransaction;
    if (!this.#isLeftEmpty || !wasLeftEmpty || this.#hasAskedForCopy) return;
    this.#hasAskedForCopy = true;
    this.#context.report.needsCopy(this.version, "the log no longer held its copy's begin when it became live");
  }

  /** Whether the file may take the page: its history is the log's. */
  #verify(file: CacheFile, page: OplogPage, after: number): boolean {
    if (this.#next.position !== after) return this.#isVerified;
    const { tag } = this.#next;
    if (page.tagAtFrom === null || (tag !== null && tag !== page.tagAtFrom)) return false;
    if (this.#mustRebase) file.rebase({ position: after, tag: page.tagAtFrom });
    this.#mustRebase = false;
    this.#isVerified = true;
    this.#next = { position: after, tag: page.tagAtFrom };
    return true;
  }

  /** Whether a `sync_end` switched the table. */
  #apply(file: CacheFile, page: OplogPage, all: readonly PageRow[]): boolean {
    const { report, nowMs } = this.#context;
    const from = this.#next.position;
    if (page.position <= from) return false;
    const upTo = { position: page.position, tag: page.tag };
    this.#appliedAt = Date.now();
    const rows: readonly CacheRow[] = all.filter((row) => row.position > from);
    if (rows.length === 0 && !this.#isInTransaction) {
      this.#next = upTo;
      this.#unwritten = { ...upTo, sinceMs: this.#unwritten?.sinceMs ?? nowMs() };
      this.flush();
      return false;
    }
    const result = file.apply(rows, upTo, (position) => tagAt(page, position));
    this.#appliedAt = Date.now();
    this.#appliedRows += rows.length;
    this.#next = upTo;
    this.#isInTransaction = result.isOpen;
    this.#unwritten = null;
    this.#rows.changed();
    if (result.rejects.length > 0) {
      report.rejects(result.rejects.map((reject) => ({ ...reject, version: this.version })));
    }
    if (result.copyMissed)
      report.needsCopy(this.version, "its copy ended, but the log no longer held the copy's begin");
    if (result.switched) {
      this.#rows.replaced();
      report.line(
        "info",
        "cache_switched",
        { version: this.version, path: this.path },
        "A complete copy is served now",
      );
    }
    return result.switched;
  }

  #succeeded(): void {
    if (this.#error === null || this.#wal.isBlocked) return;
    this.#error = null;
    this.#backoff.succeeded();
    this.#context.report.line(
      "info",
      "cache_recovered",
      { version: this.version, path: this.path },
      "The cache goes on",
    );
  }
}

/** Tag of the batch that holds a position of the page; null where the page doesn't show it. */
function tagAt(page: OplogPage, position: number): string | null {
  const batch = page.batches.find(({ first, count }) => position >= first && position < first + count);
  return batch?.tag ?? null;
}

/** Whether an error tells of the file rather than of the log. */
function isOfFile(error: unknown): boolean {
  return error instanceof EmcacheError && (error.code === "cache_unavailable" || error.code === "cache_damaged");
}
