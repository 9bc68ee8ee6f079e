import { EmcacheError } from "@emcache/protocol";
import type { CaptureBatch, CaptureStart, CopyCheckpoint, StreamCheckpoint } from "../../source/capture-log.ts";
import type { LogRow, Reject } from "../../source/log-row.ts";
import type { AppendIdentity } from "../append-message.ts";
import { type OplogPage, type RawRow, toOplogPage } from "../oplog-page.ts";
import type { BatchFacts, PageRequest } from "../oplog-reader.ts";
import type { Sealed } from "../exactly-once-log.ts";
import { OPERATION_CODES, ORIGIN_CODES } from "../row-codes.ts";
import { toStoredText } from "../stored-text.ts";
import { LogRefusal } from "./log-network.ts";

/** A batch as it is stored. */
export interface StoredBatch {
  readonly firstPosition: number;
  readonly rows: readonly LogRow[];
  readonly tag: string;
  readonly source: string;
  readonly epoch: number;
  readonly clusterTime: bigint | null;
}

interface SourceState {
  epoch: number;
  isReleased: boolean;
  appendNumber: number;
  appendTag: string;
  appendFirstPosition: number;
  checkpoint: StreamCheckpoint | null;
}

interface Bracket {
  start: number;
  completeStart: number | null;
}

/** What a version is to the registry. */
export interface StoredVersion {
  readonly version: number;
  readonly name: string;
  state: "pending" | "live" | "retired";
}

const CREATED_AT = "2026-01-01T00:00:00.000Z";

/**
 * The oplog in memory: what PostgreSQL's tables and `emcache.seal` are to the real one, without concurrency inside a
 * message, because a transaction that takes locks in one message has none to show either. `MemoryCaptureLog` appends
 * to it; it is itself what readers read. `capture-log.contract.test.ts` holds both to the same behaviour.
 */
export class MemoryOplog {
  readonly logId: string;
  readonly copies = new Map<number, { readonly source: string; readonly copy: CopyCheckpoint }>();
  readonly rejects = new Map<number, Map<string, Reject>>();
  readonly copyRequests = new Set<number>();
  readonly versions = new Map<number, StoredVersion>();
  /** Rows that a page holds at most, to make readers read many. */
  pageRowsMax = Infinity;
  /** Told of each batch when it has been committed, with the checkpoint that came with it; before anyone can read it. */
  onSealed: (batch: StoredBatch, checkpoint: StreamCheckpoint | null) => void = () => undefined;
  readonly #sources = new Map<string, SourceState>();
  readonly #brackets = new Map<number, Bracket>();
  #batches: StoredBatch[] = [];
  #head = 0;
  #tag = "";
  #floor = 1;
  #floorTag = "";

  constructor(logId: string) {
    this.logId = logId;
  }

  /** What is held, in order. */
  get batches(): readonly StoredBatch[] {
    return this.#batches;
  }

  get position(): number {
    return this.#head;
  }

  get floor(): number {
    return this.#floor;
  }

  checkpointOf(source: string): StreamCheckpoint | null {
    return this.#source(source).checkpoint;
  }

  /** Epoch of the source's lease. */
  epochOf(source: string): number {
    return this.#source(source).epoch;
  }

  /** Gives the lease to whoever asks: its epoch; appends of older epochs are refused from here on. */
  takeLease(source: string): number {
    const state = this.#source(source);
    state.epoch += 1;
    state.isReleased = false;
    return state.epoch;
  }

  releaseLease(source: string, epoch: number): void {
    const state = this.#source(source);
    if (state.epoch === epoch) state.isReleased = true;
  }

  /** @throws LogRefusal */
  load(source: string, epoch: number): { readonly number: number; readonly start: CaptureStart } {
    const state = this.#source(source);
    if (state.epoch !== epoch || state.isReleased) throw new LogRefusal("EM001");
    state.appendNumber += 1;
    state.appendTag = "";
    const copies = [...this.copies.values()].filter((stored) => stored.source === source).map(({ copy }) => copy);
    return {
      number: state.appendNumber,
      start: { checkpoint: state.checkpoint, copies: copies.toSorted((a, b) => a.version - b.version) },
    };
  }

  /** One append, as `emcache.seal` does it. @throws LogRefusal */
  seal({ source, epoch, number, tag }: AppendIdentity, batch: CaptureBatch): Sealed {
    const state = this.#source(source);
    if (state.epoch !== epoch || state.isReleased) throw new LogRefusal("EM001");
    if (state.appendNumber === number && state.appendTag === tag) {
      throw new LogRefusal("EM002", state.appendFirstPosition);
    }
    if (state.appendNumber !== number - 1) throw new LogRefusal("EM003");
    for (const copy of batch.copies) this.copies.set(copy.version, { source, copy });
    this.#startCopies(batch.rows);
    for (const reject of batch.rejects) this.#addReject(reject);
    const previousTag = this.#tag;
    const firstPosition = batch.rows.length === 0 ? 0 : this.#head + 1;
    const before = state.checkpoint;
    if (batch.checkpoint !== null) state.checkpoint = batch.checkpoint;
    if (batch.rows.length > 0) {
      const clusterTime = batch.checkpoint === null ? (before?.clusterTime ?? null) : batch.checkpoint.clusterTime;
      this.#append({ firstPosition, rows: batch.rows, tag, source, epoch, clusterTime });
    }
    state.appendNumber = number;
    state.appendTag = tag;
    state.appendFirstPosition = firstPosition;
    const stored = this.#batches.at(-1);
    this.onSealed(
      batch.rows.length > 0 && stored !== undefined
        ? stored
        : { firstPosition, rows: [], tag, source, epoch, clusterTime: null },
      batch.checkpoint,
    );
    const place = batch.rows.length === 0 ? null : { previousTag, logId: this.logId };
    return { firstPosition, place };
  }

  /** The rows after a position, as `OplogReader.page` gives them. */
  page({ after, limit, versions, bytesMax = Infinity }: Omit<PageRequest, "signal">): OplogPage {
    const rowsMax = Math.min(limit, this.pageRowsMax);
    const headers = this.#headersFrom(after);
    const raw: RawRow[] = [this.#facts(headers)];
    let sizeBytes = 0;
    for (const batch of headers) {
      let isFirst = true;
      for (const [number, row] of batch.rows.entries()) {
        const position = batch.firstPosition + number;
        if (position <= after || (versions !== undefined && !versions.includes(row.version))) continue;
        if (raw.length > rowsMax || sizeBytes >= bytesMax) break;
        sizeBytes += Buffer.byteLength(row.data ?? "") + Buffer.byteLength(toStoredText(row.docId)) + 64;
        raw.push(rawRowOf(position, row, isFirst ? batch.tag : null, sizeBytes >= bytesMax));
        isFirst = false;
      }
    }
    return toOplogPage({ after, limit: rowsMax, isFiltered: versions !== undefined }, raw);
  }

  head(): { logId: string; head: number; floor: number } {
    return { logId: this.logId, head: this.#head, floor: this.#floor };
  }

  /** As `OplogReader.batchAt`. */
  batchAt(position: number): BatchFacts | null {
    const batch = this.#batches.findLast(({ firstPosition }) => firstPosition <= position);
    if (batch === undefined || batch.firstPosition + batch.rows.length <= position) return null;
    const { firstPosition, rows, tag, source, clusterTime } = batch;
    return { firstPosition, rowCount: rows.length, tag, source, clusterTime, createdAt: CREATED_AT };
  }

  /** As `OplogReader.latestSyncStart`. */
  latestSyncStart(version: number): { position: number; complete: boolean } | null {
    const bracket = this.#brackets.get(version);
    if (bracket === undefined) return null;
    const { start, completeStart } = bracket;
    if (completeStart !== null && completeStart >= this.#floor) return { position: completeStart, complete: true };
    return start >= this.#floor ? { position: start, complete: false } : null;
  }

  /** Drops the batches that end below a position, as retention does. */
  dropBelow(position: number): void {
    const dropped = this.#batches.filter(({ firstPosition, rows }) => firstPosition + rows.length <= position);
    if (dropped.length === 0) return;
    this.#batches = this.#batches.slice(dropped.length);
    this.#floor = this.#batches[0]?.firstPosition ?? this.#head + 1;
    this.#floorTag = dropped.at(-1)?.tag ?? this.#floorTag;
  }

  /** Loses the batch that holds a position, as no correct store does. */
  lose(position: number): void {
    this.#batches = this.#batches.filter(
      ({ firstPosition, rows }) => position < firstPosition || position >= firstPosition + rows.length,
    );
  }

  #source(name: string): SourceState {
    let state = this.#sources.get(name);
    if (state === undefined) {
      state = {
        epoch: 0,
        isReleased: true,
        appendNumber: 0,
        appendTag: "",
        appendFirstPosition: 0,
        checkpoint: null,
      };
      this.#sources.set(name, state);
    }
    return state;
  }

  #startCopies(rows: readonly LogRow[]): void {
    for (const { operation, version } of rows) {
      if (operation !== "sync_start") continue;
      this.rejects.delete(version);
      this.copyRequests.delete(version);
    }
  }

  #addReject(reject: Reject): void {
    const { version, docId, column, sample } = reject;
    let rejects = this.rejects.get(version);
    if (rejects === undefined) this.rejects.set(version, (rejects = new Map()));
    rejects.set(JSON.stringify([docId, column, docId === "" ? sample : null]), reject);
  }

  #append(batch: StoredBatch): void {
    this.#batches.push(batch);
    this.#head += batch.rows.length;
    this.#tag = batch.tag;
    const starts = new Map<number, number>();
    const ends = new Map<number, number>();
    for (const [number, { operation, version }] of batch.rows.entries()) {
      if (operation === "sync_start") starts.set(version, batch.firstPosition + number);
      if (operation === "sync_end") ends.set(version, batch.firstPosition + number);
    }
    for (const [version, start] of starts) {
      this.#brackets.set(version, { start, completeStart: this.#brackets.get(version)?.completeStart ?? null });
    }
    for (const [version, end] of ends) {
      const bracket = this.#brackets.get(version);
      if (bracket !== undefined && bracket.start < end) bracket.completeStart = bracket.start;
      this.#becomeLive(version);
    }
  }

  #becomeLive(version: number): void {
    const stored = this.versions.get(version);
    if (stored?.state !== "pending") return;
    for (const other of this.versions.values()) {
      if (other.name === stored.name && other.state === "live") other.state = "retired";
    }
    stored.state = "live";
  }

  /** The headers that a page touches: from the one that holds `after`. */
  #headersFrom(after: number): StoredBatch[] {
    const low = after < this.#floor ? this.#floor : (this.#lastAtOrBefore(after)?.firstPosition ?? Infinity);
    return this.#batches.filter(({ firstPosition }) => firstPosition >= low);
  }

  #lastAtOrBefore(position: number): StoredBatch | undefined {
    return this.#batches.findLast(({ firstPosition }) => firstPosition <= position);
  }

  #facts(headers: readonly StoredBatch[]): RawRow {
    const [first] = headers;
    const last = headers.at(-1);
    let hole: number | null = null;
    for (const [index, { firstPosition, rows }] of headers.entries()) {
      const next = headers[index + 1];
      if (next !== undefined && next.firstPosition !== firstPosition + rows.length)
        hole ??= firstPosition + rows.length;
    }
    const facts = {
      logId: this.logId,
      floor: this.#floor,
      floorTag: this.#floorTag,
      through: this.#head,
      deleted: [],
      firstPosition: first?.firstPosition ?? null,
      endPosition: last === undefined ? null : last.firstPosition + last.rows.length - 1,
      firstEnd: first === undefined ? null : first.firstPosition + first.rows.length - 1,
      firstTag: first?.tag ?? null,
      lastTag: last?.tag ?? null,
      hole,
    };
    return [String(this.#head), "0", "", "", "0", "", null, "f", JSON.stringify(facts), "", "", "f"];
  }
}

function rawRowOf(position: number, row: LogRow, tag: string | null, isCut: boolean): RawRow {
  return [
    String(position),
    String(row.version),
    OPERATION_CODES[row.operation],
    toStoredText(row.docId),
    String(row.idType),
    ORIGIN_CODES[row.origin],
    row.transaction === null ? null : toStoredText(row.transaction),
    row.transactionEnd ? "t" : "f",
    row.data,
    tag,
    tag === null ? null : CREATED_AT,
    isCut ? "t" : "f",
  ];
}

/** What a broken connection is to a client of the log. */
export function connectionBroken(): EmcacheError {
  return new EmcacheError("postgres_unavailable", "the connection to the log broke");
}
