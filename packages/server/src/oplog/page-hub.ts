import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { BatchesAhead } from "./batches-ahead.ts";
import { type CommittedBatch, pageOfBatch } from "./committed-batch.ts";
import { historyMismatch, type LogRead, type ReaderHistory, requireHistory } from "./log-read.ts";
import { LogTail } from "./log-tail.ts";
import { LogWaiters } from "./log-waiters.ts";
import type { OplogPage } from "./oplog-page.ts";
import { ANSWER_BYTES_MAX, type ReadableLog } from "./read-log.ts";
import { SharedReads } from "./shared-reads.ts";

/** Rows and bytes of one read that follows the head; the sizes that measured best for the caches. */
const PAGE_ROWS = 5000;
const PAGE_BYTES = 4 * 1024 * 1024;
/** Without a reader for so long the tail is let go of. */
const IDLE_MS = 60_000;

export interface PageHubOptions {
  readonly log: ReadableLog;
  /** Bound on the newest part of the log that is held in memory; as much again for answers further back. */
  readonly bytesMax: number;
  /** Readers that may wait at once. */
  readonly waitersMax: number;
  /** Longest time between two looks at the log while somebody waits; a wake-up comes first. */
  readonly intervalMs: number;
  readonly logger: Logger;
}

/** What a follower asks for. */
export interface FollowQuery extends ReaderHistory {
  readonly after: number;
  readonly versions: readonly number[];
  readonly limit: number;
  /** How long to wait for a first row, in milliseconds; 0: answer with what there is now. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

/**
 * Answers those who follow the log, however many, from one reading of it: batches that this process committed are
 * taken from memory, others are read once, and both are dealt to all who wait. Whoever is further back than the tail in
 * memory reads for itself, shared with those who ask the same.
 */
export class PageHub implements Service {
  readonly name = "page-hub";
  readonly #options: PageHubOptions;
  readonly #end = new AbortController();
  #reads: SharedReads;
  readonly #waiters: LogWaiters;
  readonly #ahead = new BatchesAhead();
  #tail: LogTail | null = null;
  /** How far the log goes as far as this process has heard. */
  #head = 0;
  #running: Promise<void> = Promise.resolve();
  #isLooking = false;
  #queued: Promise<void> | null = null;
  #polling: Promise<void> = Promise.resolve();
  #usedAtMs = 0;
  #pagesRead = 0;
  #batchesTaken = 0;
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: PageHubOptions) {
    this.#options = options;
    this.#reads = this.#newReads();
    this.#waiters = new LogWaiters(options.waitersMax);
  }

  async start(): Promise<void> {
    this.#polling = this.#poll(this.#end.signal);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    this.#waiters.close();
    await this.#polling;
    await this.#running.catch(() => undefined);
  }

  /** Where what was dealt came from: pages read from the log, and batches of this process taken from memory. */
  get counts(): { readonly pagesRead: number; readonly batchesTaken: number } {
    return { pagesRead: this.#pagesRead, batchesTaken: this.#batchesTaken };
  }

  /** What is held in memory of the log, and its bound: the newest part, and answers further back. */
  get memory(): { readonly bytes: number; readonly bytesMax: number } {
    return { bytes: (this.#tail?.bytes ?? 0) + this.#reads.keptBytes, bytesMax: 2 * this.#options.bytesMax };
  }

  /** How many may wait at once. */
  get waitersMax(): number {
    return this.#options.waitersMax;
  }

  /** How many wait. */
  get waiterCount(): number {
    return this.#waiters.count;
  }

  /** Whether nobody may wait any more. */
  get isClosed(): boolean {
    return this.#waiters.isClosed;
  }

  /** Answers all who wait, with nothing, and lets nobody wait from now on: the server is about to stop. */
  endWaits(): void {
    this.#waiters.close();
  }

  /** Answers those who wait for one of these versions, with nothing: what the version is has changed. */
  versionsChanged(versions: ReadonlySet<number>): void {
    this.#waiters.release(versions);
  }

  /** A batch that this process has committed. Before its `wake`. */
  hand(batch: CommittedBatch): void {
    if (this.#tail === null || batch.createdAt === null) return;
    this.#ahead.add(batch);
    this.#takeAhead(this.#tail);
  }

  /** The log goes as far as `head`: call it after each commit. */
  wake(head: number): void {
    this.#head = Math.max(this.#head, head);
    if (this.#tail === null || this.#tail.end >= head) return;
    if (this.#isIdle()) this.#letGo();
    else if (!this.#isLooking) void this.#look().catch(() => "those who wait were told");
  }

  /**
   * The rows of some versions after a position; waits for the first of them if asked to. Fewer rows than `limit` mean
   * that there were no more, or that they are large. Those who wait for the same get the same object.
   *
   * @throws EmcacheError `history_mismatch`, `position_too_old`, `oplog_hole`, `postgres_unavailable`, `overloaded`; the
   * signal's reason.
   */
  async follow(query: FollowQuery): Promise<LogRead> {
    const endsAtMs = performance.now() + query.waitMs;
    const versions = query.versions.toSorted((left, right) => left - right);
    for (let { after, logId, tag } = query; ;) {
      const leftMs = endsAtMs - performance.now();
      const read = await this.#readNow({ ...query, after, logId, tag, versions, waitMs: leftMs });
      if (read.rows.length > 0 || leftMs <= 0 || this.#waiters.isClosed) return read;
      ({ position: after, logId, tag } = read);
      const tail = this.#tail;
      // Where the tail grew meanwhile, it is looked at again.
      if (tail === null || tail.logId !== logId || tail.end !== after) continue;
      this.#lookIfOld();
      const { limit, signal } = query;
      const end = await this.#waiters.wait({ versions, limit, timeoutMs: leftMs, signal });
      if (end.kind === "rows") return end.read;
      if (end.kind === "nothing") return tail.read({ after: tail.end, versions: NONE, limit, bytesMax: 1 });
    }
  }

  /** What there is now. Who may wait takes what memory holds; others what the log holds at this moment. */
  async #readNow(query: FollowQuery): Promise<LogRead> {
    this.#usedAtMs = performance.now();
    const { after, limit, signal } = query;
    const held = this.#readTail(query);
    if (held !== null && (query.waitMs > 0 || held.rows.length >= limit)) return held;
    await untilAborted(this.#look(), signal);
    const fresh = this.#readTail(query);
    if (fresh !== null) return fresh;
    const tail = this.#tail;
    // Another log's positions mean nothing here: not even that they are too old.
    if (tail !== null && query.logId !== null && query.logId !== tail.logId)
      throw historyMismatch({ logId: tail.logId, floor: tail.floor, head: tail.end });
    const read = await this.#reads.read(query, signal);
    if (after > read.head) throw historyMismatch(read);
    requireHistory(query, read);
    return read;
  }

  #readTail(query: FollowQuery): LogRead | null {
    const tail = this.#tail;
    if (tail === null || !tail.covers(query.after)) return null;
    const versions = new Set(query.versions);
    const read = tail.read({ after: query.after, versions, limit: query.limit, bytesMax: ANSWER_BYTES_MAX });
    requireHistory(query, read);
    return read;
  }

  /** Takes batches of this process that follow the tail's end. */
  #takeAhead(tail: LogTail): void {
    for (;;) {
      const batch = this.#ahead.take(tail.end);
      if (batch === null) return;
      if (batch.logId !== tail.logId || batch.previousTag !== tail.endTag) {
        this.#letGo();
        return;
      }
      this.#batchesTaken++;
      this.#grow(tail, pageOfBatch(batch));
    }
  }

  #grow(tail: LogTail, page: OplogPage): void {
    const from = tail.end;
    tail.append(page);
    this.#waiters.deal(tail, from);
    tail.trim();
  }

  /** Reads the log to its head; resolves when what was committed before this call is in the tail. */
  #look(): Promise<void> {
    this.#queued ??= this.#running.then(
      () => this.#startLook(),
      () => this.#startLook(),
    );
    return this.#queued;
  }

  #startLook(): Promise<void> {
    this.#queued = null;
    this.#isLooking = true;
    this.#running = this.#lookNow().finally(() => (this.#isLooking = false));
    // A wake-up may have come between the last page and its end. After a failure the next wake-up or poll looks again.
    void this.#running.then(
      () => this.wake(this.#head),
      () => undefined,
    );
    return this.#running;
  }

  #lookIfOld(): void {
    const isOld = performance.now() - this.#lookedAtMs >= this.#options.intervalMs;
    if (isOld && !this.#isLooking) void this.#look().catch(() => "those who wait were told");
  }

  async #lookNow(): Promise<void> {
    try {
      while (!(await this.#readOn())) this.#end.signal.throwIfAborted();
      this.#lookedAtMs = performance.now();
    } catch (error) {
      if (error instanceof EmcacheError && error.code === "position_too_old") this.#letGo();
      else if (!this.#end.signal.aborted) {
        this.#options.logger.debug({ event: "follow_failed" }, messageOf(error));
        this.#waiters.fail(error);
      }
      throw error;
    }
  }

  /** Reads one page; whether it went to the head. */
  async #readOn(): Promise<boolean> {
    const { log } = this.#options;
    const signal = this.#end.signal;
    const tail = (this.#tail ??= await this.#newTail());
    const { end: after, endTag } = tail;
    this.#pagesRead++;
    const page = await log.page({ after, limit: PAGE_ROWS, bytesMax: PAGE_BYTES, signal });
    if (tail !== this.#tail) return false;
    if (page.logId !== tail.logId || page.tagAtFrom !== endTag) {
      this.#letGo();
      return false;
    }
    this.#grow(tail, page);
    this.#takeAhead(tail);
    const isDone = !page.full && (tail.end >= this.#head || page.position === after);
    if (isDone) this.#head = tail.end;
    return isDone;
  }

  /** The tail of a log begins at its head. */
  async #newTail(): Promise<LogTail> {
    const { log, bytesMax } = this.#options;
    const { head } = await log.head();
    const { logId, floor, tagAtFrom } = await log.page({ after: head, limit: 1, signal: this.#end.signal });
    if (tagAtFrom === null) throw new EmcacheError("postgres_unavailable", "the log was set back while it was read");
    return new LogTail({ logId, floor, position: head, tag: tagAtFrom }, bytesMax);
  }

  #isIdle(): boolean {
    return this.#waiters.count === 0 && performance.now() - this.#usedAtMs > IDLE_MS;
  }

  /** Forgets all: nobody follows, or the history is another one. What was kept can't be compared with it any more. */
  #letGo(): void {
    this.#tail = null;
    this.#head = 0;
    this.#ahead.clear();
    this.#reads = this.#newReads();
    this.#waiters.lose();
  }

  #newReads(): SharedReads {
    const { log, bytesMax } = this.#options;
    return new SharedReads(log, bytesMax, this.#end.signal);
  }

  async #poll(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await sleep(this.#options.intervalMs, signal);
        if (this.#isIdle()) this.#letGo();
        else if (this.#waiters.count > 0) await this.#look();
      } catch {
        if (signal.aborted) return;
      }
    }
  }
}

const NONE: ReadonlySet<number> = new Set();
