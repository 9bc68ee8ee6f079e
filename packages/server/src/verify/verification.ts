import { setImmediate } from "node:timers/promises";
import { EmcacheError } from "@emcache/protocol";
import type { ClusterTime } from "../source/cluster-time.ts";
import { type CachedRow, CachedRows } from "./cached-rows.ts";
import { DifferenceTally } from "./difference-tally.ts";
import { documentKeyOf } from "./document-key-of.ts";
import { ExpectedRows } from "./expected-rows.ts";
import { LogFollower } from "./log-follower.ts";
import { SeenRows } from "./seen-rows.ts";
import { type ScannedRow, SourceScan } from "./source-scan.ts";
import { type Confirmed, isAsExpected, type Suspect, SUSPECTS_MAX, SuspectCheck } from "./suspect-check.ts";
import type { VerificationContext } from "./verification-context.ts";
import type { VerifyResult } from "./verify-report.ts";

/** Rows of the cache that are looked up at a go: some ms, which the event loop waits. */
const LOOKUP_ROWS_MAX = 500;

/** Ids that the stream touched since the cursor was opened; when they are more, it is re-opened. Some 100 bytes each. */
const TOUCHED_MAX = 200_000;

/** Rows that the source seems not to have, looked for in one more reading of it. */
const EXTRA_MAX = 50_000;

/**
 * Compares one entity's source with its cache while both are live.
 *
 * A range of the collection is read on one cursor in `_id` order; nothing in it is newer than the `operationTime` `H`
 * of its replies. Once the capture has passed `H` and the cache has what the log has then, a document that the stream
 * did not touch since the cursor was opened is in both in the same state, or differs: whatever happened to it after the
 * opening would be in the log as a row after the position at which it was opened. What differs is read once more
 * (`SuspectCheck`). Rows that no document claimed are looked for by a second reading of the collection.
 */
export class Verification {
  readonly #context: VerificationContext;
  readonly #expected: ExpectedRows;
  readonly #follower: LogFollower;
  readonly #seen = new SeenRows();
  readonly #check: SuspectCheck;
  readonly #tally: DifferenceTally;
  /** Rows that no document has claimed so far, by id. */
  #unclaimed = new Map<string, CachedRow>();
  #identity: string | null = null;
  #documents = 0;
  #documentsEstimate = 0;
  #compared = 0;
  #rejected = 0;
  #skipped = 0;
  #rows = 0;
  #isCopyRequested = false;

  constructor(context: VerificationContext) {
    const { entity, oplog, caches } = context;
    this.#context = context;
    this.#expected = new ExpectedRows(entity);
    this.#follower = new LogFollower({
      oplog,
      version: entity.id,
      waitForCache: (position, signal) => caches.waitFor(position, signal, entity.id),
      onTouched: (docIds) => this.#claim(docIds),
    });
    const parts = { expected: this.#expected, follower: this.#follower, openRows: () => this.#openRows() };
    this.#check = new SuspectCheck(context, parts);
    this.#tally = new DifferenceTally(context, this.#expected);
  }

  /**
   * @throws verification_not_ready where the cache is not whole or its table is replaced meanwhile, source_unavailable,
   * postgres_unavailable; the signal's reason
   */
  async run(): Promise<VerifyResult> {
    const startedAt = performance.now();
    const { entity, source, signal } = this.#context;
    try {
      this.#documentsEstimate = await source.estimatedCount(entity.source, signal);
      await this.#follower.start(signal);
      const time = await this.#compareRanges();
      await this.#findExtra(time);
      await this.#requireReady();
    } finally {
      this.#seen.close();
    }
    const { total, reasons, repaired } = this.#tally;
    return {
      entity: entity.name,
      version: entity.id,
      documents: this.#documents,
      compared: this.#compared,
      rejected: this.#rejected,
      skipped: this.#skipped + this.#check.unsettled,
      rows: this.#rows,
      differences: total,
      reasons,
      repaired,
      copyRequested: this.#isCopyRequested,
      position: this.#follower.position,
      durationMs: Math.round(performance.now() - startedAt),
    };
  }

  /** Every document of the source has its row. Returns the latest time that was read. */
  async #compareRanges(): Promise<ClusterTime | null> {
    const { source, signal } = this.#context;
    const scan = new SourceScan(source, this.#expected);
    let latest: ClusterTime | null = null;
    try {
      for (let isLast = false, isOpen = false; !isLast;) {
        await this.#requireReady();
        if (!isOpen || this.#follower.touchedCount > TOUCHED_MAX) {
          // What was logged up to now, the cursor sees; what is logged from now on is remembered.
          this.#follower.forget();
          await scan.open(await this.#latestTime(), signal);
          isOpen = true;
        }
        const range = await scan.next(signal);
        this.#documents += range.documents;
        this.#rejected += range.documents - range.rows.length;
        latest = range.time ?? latest;
        if (range.time !== null && range.rows.length > 0) await this.#compare(range.rows, range.time);
        isLast = range.isLast;
        this.#tellProgress();
      }
    } finally {
      await scan.close();
    }
    return latest;
  }

  async #compare(rows: readonly ScannedRow[], time: ClusterTime): Promise<void> {
    const { entity, ask, signal } = this.#context;
    await ask({ source: entity.client, time, collection: entity.source, documentKeys: [] }, signal);
    await this.#follower.advance(signal);
    const suspects: Suspect[] = [];
    const cachedRows = this.#openRows();
    try {
      for (let start = 0; start < rows.length; start += LOOKUP_ROWS_MAX) {
        const part = rows.slice(start, start + LOOKUP_ROWS_MAX);
        const cached = cachedRows.find(part.map(({ docId }) => docId));
        const met: bigint[] = [];
        for (const row of part) {
          const found = cached.get(row.docId);
          if (found?.idClass === row.idClass) met.push(found.rowId);
          if (found === undefined || !isAsExpected(row, found)) suspects.push(row);
          else if (found.idClass !== row.idClass) this.#rejected++;
          else this.#compared++;
        }
        this.#seen.add(met);
        await setImmediate(undefined, { signal });
      }
    } finally {
      cachedRows.close();
    }
    await this.#follower.advance(signal);
    const untouched = suspects.filter(({ docId }) => !this.#follower.hasTouched(docId, 0));
    this.#skipped += suspects.length - untouched.length;
    for (const part of partsOf(untouched, SUSPECTS_MAX)) {
      const different = await this.#check.confirm(part, time);
      this.#compared += part.length;
      await this.#settle(different, time);
    }
  }

  /** Rows that no document of the source claims. */
  async #findExtra(time: ClusterTime | null): Promise<void> {
    let after: bigint | null = null;
    for (let isEnd = false; !isEnd;) {
      this.#unclaimed = new Map();
      const page = await this.#takeUnclaimed(after);
      ({ after, isEnd } = page);
      await this.#advanceForgetting();
      for (const [docId, { rowId }] of this.#unclaimed) if (this.#seen.has(rowId)) this.#unclaimed.delete(docId);
      if (this.#unclaimed.size > 0) await this.#settleUnclaimed(time);
    }
  }

  /** Takes rows that were not met, from after that row on, as many as are looked for together. */
  async #takeUnclaimed(from: bigint | null): Promise<{ after: bigint | null; isEnd: boolean }> {
    let after = from;
    const cachedRows = this.#openRows();
    try {
      for (;;) {
        const page = cachedRows.page(after, LOOKUP_ROWS_MAX);
        after = page.at(-1)?.rowId ?? after;
        this.#rows += page.length;
        for (const row of page) if (!this.#seen.has(row.rowId)) this.#unclaimed.set(row.docId, row);
        const isEnd = page.length < LOOKUP_ROWS_MAX;
        if (isEnd || this.#unclaimed.size >= EXTRA_MAX) return { after, isEnd };
        await setImmediate(undefined, { signal: this.#context.signal });
      }
    } finally {
      cachedRows.close();
    }
  }

  /** Reads the collection once more: what it has now, or what the stream touched meanwhile, is no extra row. */
  async #settleUnclaimed(after: ClusterTime | null): Promise<void> {
    const { source, entity, ask, signal } = this.#context;
    const scan = new SourceScan(source, this.#expected);
    let time = after ?? 0n;
    try {
      await scan.open(await this.#latestTime(), signal);
      for (let isLast = false; !isLast;) {
        const range = await scan.next(signal);
        for (const { docId, idClass } of range.rows) {
          if (this.#unclaimed.get(docId)?.idClass === idClass) this.#unclaimed.delete(docId);
        }
        time = range.time ?? time;
        isLast = range.isLast;
        await this.#advanceForgetting();
      }
    } finally {
      await scan.close();
    }
    await ask({ source: entity.client, time, collection: entity.source, documentKeys: [] }, signal);
    await this.#advanceForgetting();
    for (const part of partsOf([...this.#unclaimed.values()], SUSPECTS_MAX)) {
      const different = part.map((cached) => {
        const { docId, idClass } = cached;
        const documentKey = documentKeyOf(docId, idClass, this.#expected.target.mapper);
        return { docId, idClass, documentKey, isInSource: false, expected: null, cached };
      });
      await this.#settle(different, time);
    }
  }

  /** Only `#unclaimed` is of interest, which hears of what the stream touches by itself. */
  async #advanceForgetting(): Promise<void> {
    await this.#follower.advance(this.#context.signal);
    this.#follower.forget();
  }

  /** Counts and tells differences, and repairs them where that was asked for. */
  async #settle(different: readonly Confirmed[], time: ClusterTime): Promise<void> {
    if (different.length === 0) return;
    const { options } = this.#context;
    const unrepaired = options.repair ? await this.#repair(different, time) : null;
    await this.#tally.add(different, unrepaired);
    this.#tellProgress();
  }

  /** Lets the capture log the documents' states once more. Returns the ids of those that differ still. */
  async #repair(different: readonly Confirmed[], time: ClusterTime): Promise<Set<string>> {
    const { entity, ask, requestCopy, signal } = this.#context;
    const known: Suspect[] = [];
    const unrepaired = new Set<string>();
    for (const { docId, idClass, documentKey } of different) {
      if (documentKey === null) unrepaired.add(docId);
      else known.push({ docId, idClass, documentKey, fingerprint: null });
    }
    if (unrepaired.size > 0 && !this.#isCopyRequested) {
      await requestCopy(entity.id, signal);
      this.#isCopyRequested = true;
    }
    if (known.length === 0) return unrepaired;
    const documentKeys = known.map(({ documentKey }) => documentKey);
    await ask({ source: entity.client, time, collection: entity.source, documentKeys }, signal);
    await this.#follower.advance(signal);
    for (const { docId } of await this.#check.confirm(known, time)) unrepaired.add(docId);
    return unrepaired;
  }

  /** Rows of documents that the stream touched: they are in the source, or their deletes are in the cache. */
  #claim(docIds: ReadonlySet<string>): void {
    for (const docId of docIds) this.#unclaimed.delete(docId);
    const cachedRows = this.#openRows();
    try {
      for (const part of partsOf([...docIds], LOOKUP_ROWS_MAX)) {
        this.#seen.add([...cachedRows.find(part).values()].map(({ rowId }) => rowId));
      }
    } finally {
      cachedRows.close();
    }
  }

  #openRows(): CachedRows {
    const { entity, caches } = this.#context;
    const path = caches.pathOf(entity.id);
    if (path === null) throw notReady(`This process has no cache of ${entity.name}`);
    const rows = new CachedRows(path, entity);
    this.#identity ??= rows.identity;
    if (rows.identity === this.#identity) return rows;
    rows.close();
    throw notReady(`The cache of ${entity.name} was replaced while it was verified`);
  }

  async #requireReady(): Promise<void> {
    const { entity, caches, log, signal } = this.#context;
    if (caches.statuses().get(entity.id)?.mode !== "live") throw notReady(`The cache of ${entity.name} is not whole`);
    const state = await log.copyState(entity.id, signal);
    if (state !== "done" && !this.#isCopyRequested) {
      throw notReady(`The copy of ${entity.name} is ${state ?? "not begun"}, so its cache does not follow its source`);
    }
  }

  #latestTime(): Promise<ClusterTime | null> {
    const { log, entity, signal } = this.#context;
    return log.latestTime(entity.client, signal);
  }

  #tellProgress(): void {
    this.#context.listener.onProgress({
      documents: this.#documents,
      documentsEstimate: this.#documentsEstimate,
      differences: this.#tally.total,
    });
  }
}

function partsOf<T>(items: readonly T[], sizeMax: number): T[][] {
  const parts: T[][] = [];
  for (let start = 0; start < items.length; start += sizeMax) parts.push(items.slice(start, start + sizeMax));
  return parts;
}

function notReady(message: string): EmcacheError {
  return new EmcacheError("verification_not_ready", message);
}
