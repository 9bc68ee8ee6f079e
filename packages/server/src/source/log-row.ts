import type { Operation, Origin } from "@emcache/protocol";

export type { Reject } from "../entity/reject.ts";

/** One row on its way into the oplog: what happened to one document, or a copy's bracket. */
export interface LogRow {
  /** Id of the entity's version. */
  readonly version: number;
  readonly operation: Operation;
  /** The primary key as text; "" for `sync_start` and `sync_end`. */
  readonly docId: string;
  /** BSON type byte of `_id`; where the key is a part of `_id`, a number that stands for the whole; 0 for `sync_*`. */
  readonly idType: number;
  readonly origin: Origin;
  /** The source transaction that this row belongs to (lsid and txnNumber), else null. */
  readonly transaction: string | null;
  /** Whether this is the last row of its entity in that transaction. False where `transaction` is null. */
  readonly transactionEnd: boolean;
  /** JSON text of an array with one value a column; null for all but `upsert`. */
  readonly data: string | null;
}
