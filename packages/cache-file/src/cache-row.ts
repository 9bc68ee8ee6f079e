import type { Operation, Origin } from "@emcache/protocol";

/** One oplog row of the cache's own entity version, as `CacheFile.apply` takes it. */
export interface CacheRow {
  /** Rising over all rows ever applied to the file. */
  readonly position: number;
  readonly operation: Operation;
  /** The primary key as text (decimal digits where the shape's id type is `number`); "" for `sync_start`, `sync_end`. */
  readonly docId: string;
  /**
   * BSON type byte of the `_id` that the row came from; where the key is a part of `_id`, a number from 256 on that
   * stands for the whole `_id`; 0 for `sync_start` and `sync_end`.
   */
  readonly idType: number;
  readonly origin: Origin;
  /** The source transaction that the row belongs to, else null. */
  readonly transaction: string | null;
  /** Whether this is the entity's last row in `transaction`. */
  readonly transactionEnd: boolean;
  /** JSON text of an array with one value a column of the shape; null for all but `upsert`. */
  readonly data: string | null;
}

/** A place in one history of the log: a position and the random tag of the batch that holds it ("" at 0). */
export interface LogPoint {
  readonly position: number;
  readonly tag: string;
}

/** An upsert that was not applied: its id is taken by a document whose `_id` has another BSON type, or it can't be read. */
export interface CacheReject {
  readonly position: number;
  readonly docId: string;
  readonly idType: number;
  /** Type of the `_id` that holds the id in the table; null where that is not the reason. */
  readonly idTypeKept: number | null;
  /** What did not fit, in words. */
  readonly reason: string;
}

/** What an `apply` did. Everything but `isOpen` tells of what was committed by it. */
export interface ApplyResult {
  readonly rejects: readonly CacheReject[];
  /** Whether a `sync_end` switched the table: `data` is whole now. */
  readonly switched: boolean;
  /** Whether a `sync_end` was passed over because the file never saw its `sync_start`: a new copy is needed. */
  readonly copyMissed: boolean;
  /** Whether a source transaction is still open: nothing since its begin is visible, the position included. */
  readonly isOpen: boolean;
}

/** `live`: `data` is whole as of the position. `sync`: a copy is running, or `data` is not whole. */
export type CacheMode = "live" | "sync";

/**
 * What `data` holds: nothing yet (`empty`, before the first copy is complete), an older state with gaps (`stale`,
 * after `CacheFile.rebase`, until the next copy is complete), or all rows as of the file's position (`whole`).
 */
export type DataState = "empty" | "stale" | "whole";
