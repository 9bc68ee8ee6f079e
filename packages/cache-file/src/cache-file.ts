import { statSync } from "node:fs";
import type { Entity } from "@emcache/protocol";
import type { Database } from "better-sqlite3";
import { modeOf, NO_BRACKET, readMetadata, stateWriter, type CacheState } from "./cache-metadata.ts";
import type { ApplyResult, CacheMode, CacheReject, CacheRow, DataState, LogPoint } from "./cache-row.ts";
import { checkSchema, emptyTable, switchTables } from "./cache-schema.ts";
import { FileUpkeep } from "./file-upkeep.ts";
import { checkPages, type OpenedCache, openCacheDatabase } from "./open-cache-database.ts";
import { OpenTransaction, openTransactionStart } from "./open-transaction.ts";
import { RowApplier } from "./row-applier.ts";
import { damagedError, toCacheError } from "./sqlite-error.ts";

/** Whose file it is, and its limits. */
export interface CacheFileOptions {
  readonly entity: Entity;
  /** Id of the log that the file follows. */
  readonly logId: string;
  /** Memory for pages of the file. 64 MiB is where random ids stop loading faster (measured). */
  readonly cacheBytesMax?: number;
  /**
   * Rows after which a source transaction that doesn't end is committed in parts after all: until then the WAL holds
   * them and readers see none of it.
   */
  readonly transactionRowsMax?: number;
}

const CACHE_BYTES_MAX = 64 * 1024 * 1024;
const TRANSACTION_ROWS_MAX = 1_000_000;

/** What `checkpoint` found. */
export interface CheckpointResult {
  /** Whether a reader that is still at an older state kept the WAL from being emptied. */
  readonly isBlocked: boolean;
  readonly walBytes: number;
}

/** What an `apply` will tell of. */
interface Collected {
  readonly rejects: Map<number, CacheReject>;
  switched: boolean;
  copyMissed: boolean;
  rows: number;
}

function nothingCollected(): Collected {
  return { rejects: new Map(), switched: false, copyMissed: false, rows: 0 };
}

function mergeInto(target: Collected, more: Collected): void {
  for (const [position, reject] of more.rejects) target.rejects.set(position, reject);
  target.switched ||= more.switched;
  target.copyMissed ||= more.copyMissed;
}

/**
 * The SQLite file of one entity version, as its one writer sees it.
 *
 * A new file is in mode `sync` with `data` empty: rows before the first `sync_start` are passed over, those between it
 * and its `sync_end` go to `data_sync`, and `data` is filled by the switch. From then on `data` is served without a
 * break: a later copy fills `data_sync` while stream rows go to both.
 *
 * Each `apply` is one SQLite transaction of rows and position (invariant 5); where a source transaction is open at a
 * page's end, the SQLite transaction stays open over the next pages until its end, and none of it is visible.
 *
 * Every method throws `cache_damaged` where the content is not what EMCache wrote (set the file aside and rebuild it)
 * and `cache_unavailable` where the disk is full, read-only or locked (try again later); after either the file is as
 * it was after the last commit.
 */
export class CacheFile {
  readonly path: string;
  readonly entity: Entity;
  readonly logId: string;
  readonly #database: Database;
  readonly #data: RowApplier;
  readonly #dataSync: RowApplier;
  readonly #writeState: (before: CacheState, after: CacheState) => void;
  readonly #transactionRowsMax: number;
  readonly #upkeep: FileUpkeep;
  readonly #open = new OpenTransaction();
  /** As committed. */
  #state: CacheState;
  /** As of the rows applied; differs from `#state` while a SQLite transaction is open. */
  #working: CacheState;
  #uncommitted = nothingCollected();
  #committed = nothingCollected();
  #dataVersion: unknown;

  /** Opens or creates the file at `path`. Throws `history_mismatch` where it follows another log, and as the class says. */
  static open(path: string, options: CacheFileOptions): CacheFile {
    try {
      return new CacheFile(path, options, openCacheDatabase(path, options));
    } catch (error) {
      throw toCacheError(error, path);
    }
  }

  private constructor(path: string, options: CacheFileOptions, opened: OpenedCache) {
    const { database, state } = opened;
    this.path = path;
    this.entity = options.entity;
    this.logId = options.logId;
    this.#database = database;
    this.#transactionRowsMax = options.transactionRowsMax ?? TRANSACTION_ROWS_MAX;
    this.#upkeep = new FileUpkeep(path, opened);
    this.#data = new RowApplier(database, "data", options.entity);
    this.#dataSync = new RowApplier(database, "data_sync", options.entity);
    this.#writeState = stateWriter(database);
    this.#state = state;
    this.#working = state;
    this.setCacheBytesMax(options.cacheBytesMax ?? CACHE_BYTES_MAX);
    this.#dataVersion = this.#readDataVersion();
    this.#load(state);
  }

  /** Id of the entity's version. */
  get version(): number {
    return this.entity.id;
  }

  /** How far the file's committed rows go. */
  get position(): number {
    return this.#state.point.position;
  }

  /** Tag of the batch that holds `position`; "" at 0. */
  get tag(): string {
    return this.#state.point.tag;
  }

  /** How far rows were applied: the next page is read from here. Beyond `position` while a source transaction is open. */
  get appliedPoint(): LogPoint {
    return this.#working.point;
  }

  get mode(): CacheMode {
    return modeOf(this.#state);
  }

  /** Whether the file is between a `sync_start` and its `sync_end`. */
  get isCopying(): boolean {
    return this.#state.isCopying;
  }

  get dataState(): DataState {
    return this.#state.dataState;
  }

  /**
   * Applies a page: the version's rows among (`appliedPoint.position`, `upTo.position`], ascending; older ones are
   * skipped, so a page may come twice.
   *
   * @param upTo How far the page was read, whether or not its last rows were this version's.
   * @param tagAt Tag of the batch that holds a position of the page, null if unknown. With it, what precedes a source
   * transaction that is still open at the page's end is committed rather than kept waiting for that end.
   */
  apply(rows: readonly CacheRow[], upTo: LogPoint, tagAt?: (position: number) => string | null): ApplyResult {
    return this.#guard(() => {
      this.#begin();
      const from = this.#working.point.position;
      if (upTo.position > from) {
        const fresh = rows.filter((row) => row.position > from);
        const openStart = openTransactionStart(fresh, this.#open);
        const cut = openStart > 0 ? cutBefore(fresh[openStart], tagAt) : null;
        if (cut !== null) {
          this.#applyRows(fresh.slice(0, openStart), cut);
          this.#commit();
          this.#begin();
        }
        this.#applyRows(cut === null ? fresh : fresh.slice(openStart), upTo);
      }
      const isOpen = this.#open.isOpen && this.#uncommitted.rows <= this.#transactionRowsMax;
      if (!isOpen) this.#commit();
      const { rejects, switched, copyMissed } = this.#committed;
      this.#committed = nothingCollected();
      return { rejects: [...rejects.values()], switched, copyMissed, isOpen };
    });
  }

  /**
   * Places the file at another point of the log, because its own is not there any more (below the floor, or of a
   * history that was replaced). `data` stays as it is and is served on, marked `stale`, until the next copy switches.
   */
  rebase(point: LogPoint): void {
    this.#guard(() => {
      this.#rollback();
      this.#begin();
      emptyTable(this.#database, "data_sync");
      this.#dataSync.load(0);
      this.#working = {
        ...this.#working,
        point,
        isCopying: false,
        dataState: this.#working.dataState === "empty" ? "empty" : "stale",
        bracket: NO_BRACKET,
      };
      this.#commit();
    });
  }

  /** Rows of `data` as committed. SQLite counts them by reading an index: about 1 ms per 100,000 rows. */
  rowCount(): number {
    return this.#guard(() => {
      const row = this.#database.prepare<[], { n: number }>('SELECT count(*) AS n FROM "data"').get();
      return row?.n ?? 0;
    });
  }

  /** Reads the whole file; throws `cache_damaged` with SQLite's first complaint. */
  verifyIntegrity(): void {
    this.#guard(() => checkPages(this.#database));
  }

  /**
   * Checks a part of the file, the next one with each call: that it is in its place, that nobody else wrote to it, and
   * about `bytesMax` of its pages against their checksums (1 ms a MiB). Throws `cache_damaged`. Does nothing while a
   * SQLite transaction is open.
   */
  check(bytesMax: number): void {
    this.#guard(() => {
      if (this.#database.inTransaction) return;
      this.#noticeOtherWriter();
      this.#upkeep.check(bytesMax);
    });
  }

  /** Whether the file at `path` is still this one; false once someone removed or replaced it or its WAL. */
  isInPlace(): boolean {
    return this.#upkeep.isInPlace;
  }

  /** Bytes of the file and its WAL. */
  sizeBytes(): number {
    return (statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) + this.walBytes();
  }

  /** Bytes of the WAL: grows beyond a checkpoint's 64 MB while a reader keeps an older state open. */
  walBytes(): number {
    return statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Moves the WAL into the file and empties it, as far as readers let it. Does nothing while a SQLite transaction is open. */
  checkpoint(): CheckpointResult {
    return this.#guard(() => {
      if (this.#database.inTransaction) return { isBlocked: false, walBytes: this.walBytes() };
      return { isBlocked: this.#upkeep.checkpoint("TRUNCATE").isBusy, walBytes: this.walBytes() };
    });
  }

  /** Changes the memory for pages of the file. */
  setCacheBytesMax(bytes: number): void {
    // A negative number is KiB, whatever the page size.
    this.#database.pragma(`cache_size = -${Math.ceil(bytes / 1024)}`);
  }

  /** Gives up what is not committed and closes the file. Closing twice does nothing. */
  close(): void {
    if (!this.#database.open) return;
    try {
      if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    } finally {
      this.#upkeep.close();
    }
  }

  #begin(): void {
    if (this.#database.inTransaction) return;
    this.#database.exec("BEGIN IMMEDIATE");
    this.#noticeOtherWriter();
  }

  /**
   * Where another connection wrote and moved the position on, it was a second EMCache in this directory, and its
   * position is the truth. Anything else is an operator's hand: what the rows are now, nobody knows.
   */
  #noticeOtherWriter(): void {
    const dataVersion = this.#readDataVersion();
    if (dataVersion === this.#dataVersion) return;
    const { state } = readMetadata(this.#database);
    checkSchema(this.#database, this.entity);
    if (state.point.position <= this.position) {
      throw damagedError(this.path, `another program wrote to it at position ${state.point.position}`, "foreign-write");
    }
    this.#dataVersion = dataVersion;
    this.#load(state);
  }

  #commit(): void {
    this.#working = { ...this.#working, idType: this.#data.mainType, idTypeSync: this.#dataSync.mainType };
    this.#writeState(this.#state, this.#working);
    this.#database.exec("COMMIT");
    this.#state = this.#working;
    const { rows } = this.#uncommitted;
    mergeInto(this.#committed, this.#uncommitted);
    this.#uncommitted = nothingCollected();
    this.#upkeep.checkpointIfDue(rows);
  }

  #rollback(): void {
    if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    this.#load(this.#state);
  }

  /** Makes `state` the committed and the working state, and forgets what was read beyond it. */
  #load(state: CacheState): void {
    this.#state = state;
    this.#working = state;
    this.#data.load(state.idType);
    this.#dataSync.load(state.idTypeSync);
    this.#open.reset();
    this.#uncommitted = nothingCollected();
  }

  /** Applies rows between barriers together. */
  #applyRows(rows: readonly CacheRow[], upTo: LogPoint): void {
    let segment: CacheRow[] = [];
    for (const row of rows) {
      if (row.operation !== "sync_start" && row.operation !== "sync_end") {
        segment.push(row);
        continue;
      }
      this.#applySegment(segment);
      segment = [];
      if (row.operation === "sync_start") this.#startCopy(row);
      else this.#endCopy(row);
    }
    this.#applySegment(segment);
    this.#uncommitted.rows += rows.length;
    this.#working = { ...this.#working, point: upTo };
  }

  #applySegment(rows: readonly CacheRow[]): void {
    const { isCopying, dataState } = this.#working;
    const { rejects } = this.#uncommitted;
    if (dataState !== "empty") {
      // Copied rows are for `data_sync` only; outside a bracket (a rebased file) there are none of use.
      this.#data.apply(
        rows.filter((row) => row.origin === "stream"),
        rejects,
      );
    }
    if (isCopying) this.#dataSync.apply(rows, rejects);
  }

  /** A second `sync_start` before the `sync_end` starts the copy anew. */
  #startCopy(row: CacheRow): void {
    emptyTable(this.#database, "data_sync");
    this.#dataSync.load(0);
    this.#working = {
      ...this.#working,
      isCopying: true,
      bracket: { ...this.#working.bracket, syncStart: row.position },
    };
  }

  #endCopy(row: CacheRow): void {
    if (!this.#working.isCopying) {
      // The bracket's begin was before this file's: what came of the copy is not all of it. `data` keeps what it has.
      this.#uncommitted.copyMissed = true;
      return;
    }
    const mainType = this.#dataSync.mainType;
    switchTables(this.#database, this.entity);
    this.#data.load(mainType);
    this.#dataSync.load(0);
    this.#working = {
      ...this.#working,
      isCopying: false,
      dataState: "whole",
      bracket: {
        ...this.#working.bracket,
        switchedStart: this.#working.bracket.syncStart,
        syncEnd: row.position,
        switchedAtMs: Date.now(),
      },
    };
    this.#uncommitted.switched = true;
  }

  #readDataVersion(): unknown {
    return this.#database.pragma("data_version", { simple: true });
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      const cacheError = toCacheError(error, this.path);
      try {
        this.#rollback();
      } catch (rollbackError) {
        if (cacheError instanceof Error) cacheError.cause ??= rollbackError;
      }
      throw cacheError;
    }
  }
}

/** The point just before a source transaction's first row, null where its tag is unknown. */
function cutBefore(row: CacheRow | undefined, tagAt?: (position: number) => string | null): LogPoint | null {
  if (row === undefined || tagAt === undefined) return null;
  const position = row.position - 1;
  const tag = tagAt(position);
  return tag === null ? null : { position, tag };
}
