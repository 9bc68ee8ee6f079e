import { EmcacheError } from "@emcache/protocol";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { OplogPage, PageRow } from "../oplog/oplog-reader.ts";
import { Backoff } from "./backoff.ts";
import { CacheDirectory } from "./cache-directory.ts";
import { CacheSet, type CacheRecord } from "./cache-set.ts";
import type { CacheSlot } from "./cache-slot.ts";
import type { HandedPages } from "./handed-pages.ts";
import { PageFetcher } from "./page-fetcher.ts";
import type { ReplicateLog, ReplicateReport } from "./replicate-port.ts";
import { planTurn, type Group } from "./turn-plan.ts";
import { WakeUp } from "./wake-up.ts";

/** How often files are looked after: still there, WAL, number of rows. */
const MAINTENANCE_INTERVAL_MS = 2000;

/** How often statuses are told while there is more to apply. */
const STATUS_INTERVAL_MS = 100;

const WAL_BYTES_MAX = 1024 * 1024 * 1024;

/**
 * So much of all caches together is compared with its checksums each time: some 16 ms in 2 s, and 100 GB within four
 * hours. A disk loses a bit far more rarely; whoever copies another file over a cache is seen by the file's time.
 */
const CHECK_BYTES = 16 * 1024 * 1024;

/** What the loop works with. */
export interface ReplicateLoopOptions {
  readonly log: ReplicateLog;
  readonly report: ReplicateReport;
  /** Directory of the cache files. */
  readonly baseDir: string;
  /** Fallback poll: how long the loop sleeps where nobody wakes it. */
  readonly intervalMs: number;
  readonly walBytesMax?: number;
  /** Batches of this process, to be taken before the log is read. */
  readonly handedPages?: HandedPages;
  readonly clock?: Clock;
}

/**
 * Keeps the caches of a process up to the log: reads a page once and deals it to all caches that are near one another;
 * those that lag behind (new, or failed for a while) get pages of their own, in turns, until they have caught up.
 */
export class ReplicateLoop {
  readonly #options: ReplicateLoopOptions;
  readonly #directory: CacheDirectory;
  readonly #set: CacheSet;
  /** One page ahead for those that are together, one for those that lag. */
  readonly #together: PageFetcher;
  readonly #lagging: PageFetcher;
  readonly #clock: Clock;
  readonly #wakeUp: WakeUp;
  readonly #backoff = new Backoff();
  #records: readonly CacheRecord[] | null = null;
  readonly #restored = new Set<number>();
  #logId: string | null = null;
  #head = 0;
  #logError: unknown = null;
  #maintainedAtMs = 0;
  #readAtMs = 0;
  #toldAtMs = 0;

  constructor(options: ReplicateLoopOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#wakeUp = new WakeUp(this.#clock);
    this.#directory = new CacheDirectory(options.baseDir);
    this.#set = new CacheSet({
      directory: this.#directory,
      log: options.log,
      report: options.report,
      walBytesMax: options.walBytesMax ?? WAL_BYTES_MAX,
      nowMs: () => this.#clock.monotonicMs(),
    });
    this.#together = new PageFetcher(options.log);
    this.#lagging = new PageFetcher(options.log);
  }

  /** Replaces the list of entity versions; retired ones need not be in it. */
  setRecords(records: readonly CacheRecord[]): void {
    this.#records = records;
    this.#wakeUp.wake();
  }

  /** A file lies beside the version's that is to take its place. */
  adopt(version: number): void {
    this.#restored.add(version);
    this.#wakeUp.wake();
  }

  /** The log may have more: a batch was committed. */
  wake(): void {
    this.#wakeUp.wake();
  }

  /** Runs until the signal aborts; then positions are written and files closed. Never throws for what can recover. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      let mustRead = true;
      while (!signal.aborted) {
        const hasMore: boolean = mustRead || this.#isReadDue() ? await this.#turnOrWait(signal) : this.#rest();
        mustRead = hasMore || (await this.#wakeUp.wait(this.#idleMs(), signal));
      }
    } finally {
      for (const slot of this.#set.slots()) slot.flush(true);
      this.#tell();
      this.#set.closeAll();
    }
  }

  /** One turn; whether there is more to do at once. A log that can't be read is waited for. */
  async #turnOrWait(signal: AbortSignal): Promise<boolean> {
    try {
      const hasMore = await this.#turn(signal);
      this.#logIsBack();
      this.#maintain(this.#clock.monotonicMs());
      if (!hasMore || this.#clock.monotonicMs() - this.#toldAtMs > STATUS_INTERVAL_MS) this.#tell();
      return hasMore;
    } catch (error) {
      if (signal.aborted) return false;
      this.#logFailed(error);
      return false;
    }
  }

  /** Without reading the log: writes positions, looks after files. */
  #rest(): false {
    this.#maintain(this.#clock.monotonicMs());
    this.#tell();
    return false;
  }

  /** Whether the fallback poll is due, or the retry of something that failed. */
  #isReadDue(): boolean {
    if (this.#backoff.dueAtMs > 0) return true;
    const isPollDue = this.#clock.monotonicMs() - this.#readAtMs >= this.#options.intervalMs;
    return isPollDue || this.#set.slots().some((slot) => slot.isDue && (slot.isFailed || !slot.isOpen));
  }

  async #turn(signal: AbortSignal): Promise<boolean> {
    this.#readAtMs = this.#clock.monotonicMs();
    if (this.#logId === null || this.#records !== null) {
      const { logId } = await this.#options.log.head(signal);
      // Entities that another log doesn't list were not deleted.
      if (this.#logId !== null && logId !== this.#logId) this.#changeLog(logId);
      this.#logId = logId;
    }
    this.#takeRecords();
    await this.#openSlots(this.#logId, signal);
    const { together, lagging, isRest } = planTurn(this.#set.slots());
    let hasMore = isRest;
    if (together !== null) hasMore = (await this.#dealNext(together, this.#together, signal)) || hasMore;
    if (lagging !== null) hasMore = (await this.#dealNext(lagging, this.#lagging, signal)) || hasMore;
    return hasMore;
  }

  #takeRecords(): void {
    if (this.#records === null) return;
    const records = this.#records;
    this.#records = null;
    try {
      this.#directory.create();
    } catch (error) {
      this.#records ??= records;
      throw error;
    }
    this.#set.setRecords(records);
    this.#relink();
  }

  async #openSlots(logId: string, signal: AbortSignal): Promise<void> {
    for (const slot of this.#set.slots()) if (this.#restored.delete(slot.version)) slot.adopt();
    this.#restored.clear();
    let opened = false;
    for (const slot of this.#set.slots()) {
      if (slot.isOpen || !slot.isDue) continue;
      await slot.open(logId, signal);
      opened ||= slot.isOpen;
    }
    if (opened) this.#relink();
  }

  #relink(): void {
    this.#set.relink();
    if (this.#logId !== null) this.#set.removeOrphans(this.#logId);
  }

  /** Reads the page after a group's place and deals it; whether there is more for the group at once. */
  async #dealNext({ after, slots }: Group, fetcher: PageFetcher, signal: AbortSignal): Promise<boolean> {
    // A page of all rows shows each of its batches, and a row that is missing.
    const isAll = slots.length === this.#set.slots().length;
    const versions = isAll ? null : slots.map((slot) => slot.version);
    let page: OplogPage;
    try {
      const handed = this.#options.handedPages?.take(after, this.#logId ?? "") ?? null;
      page = handed ?? (await fetcher.next(after, versions, signal));
    } catch (error) {
      if (!(error instanceof EmcacheError) || error.code !== "position_too_old") throw error;
      for (const slot of slots) if (slot.position === after) await slot.replace(error.message, signal);
      return true;
    }
    this.#head = page.head;
    if (page.logId !== this.#logId) return this.#changeLog(page.logId);
    return this.#deal(page, after, slots, signal);
  }

  async #deal(page: OplogPage, after: number, slots: readonly CacheSlot[], signal: AbortSignal): Promise<boolean> {
    const rows = Map.groupBy(page.rows, (row) => row.version);
    const none: PageRow[] = [];
    let hasMore = page.full;
    let switched = false;
    const startMs = Date.now();
    for (const slot of slots) {
      const result = slot.deal(page, after, rows.get(slot.version) ?? none);
      switched ||= result === "switched";
      if (result !== "outdated") continue;
      await slot.replace(`The log's history at ${after} is not the cache's`, signal);
      hasMore = true;
    }
    if (page.rows.length > 0) {
      const { position } = page;
      this.#options.report.dealt?.({
        rows: page.rows.length,
        caches: slots.length,
        position,
        startMs,
        endMs: Date.now(),
      });
    }
    if (switched) this.#relink();
    return hasMore;
  }

  /** Another log is there than before: files that follow the old one are replaced as they are opened again. */
  #changeLog(logId: string): boolean {
    this.#options.report.line(
      "error",
      "log_replaced",
      { logId, before: this.#logId },
      "The oplog is another one than before",
    );
    this.#logId = logId;
    this.#together.reset();
    this.#lagging.reset();
    // Their files may be removed only by an entity of the new log that needs their place.
    this.#records ??= this.#set.records;
    this.#set.abandon();
    return true;
  }

  #maintain(nowMs: number): void {
    for (const slot of this.#set.slots()) slot.flush();
    if (nowMs - this.#maintainedAtMs < MAINTENANCE_INTERVAL_MS && this.#maintainedAtMs > 0) return;
    this.#maintainedAtMs = nowMs;
    const slots = this.#set.slots();
    for (const slot of slots) slot.maintain(CHECK_BYTES / slots.length);
  }

  #logFailed(error: unknown): void {
    this.#backoff.failed(this.#clock.monotonicMs());
    this.#together.reset();
    this.#lagging.reset();
    // What was a moment's absence shows in the health; a log that is broken concerns each cache.
    this.#logError = error instanceof EmcacheError && !error.retryable ? error : null;
    this.#options.report.log(error);
    this.#tell();
  }

  #logIsBack(): void {
    if (this.#backoff.dueAtMs > 0) this.#backoff.succeeded();
    this.#logError = null;
    this.#options.report.log(null);
  }

  #tell(): void {
    this.#toldAtMs = this.#clock.monotonicMs();
    for (const slot of this.#set.slots()) slot.countRows();
    this.#options.report.statuses(this.#set.slots().map((slot) => slot.status(this.#head, this.#logError)));
  }

  /** How long to sleep where nobody wakes the loop. */
  #idleMs(): number {
    const nowMs = this.#clock.monotonicMs();
    if (this.#backoff.dueAtMs > 0) return Math.max(1, this.#backoff.dueAtMs - nowMs);
    const dueAtMs = Math.min(...this.#set.slots().map((slot) => slot.dueAtMs));
    const pollAtMs = this.#readAtMs + this.#options.intervalMs;
    return Math.max(1, Math.min(MAINTENANCE_INTERVAL_MS, pollAtMs - nowMs, dueAtMs - nowMs));
  }
}
