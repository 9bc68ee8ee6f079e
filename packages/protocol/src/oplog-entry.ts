/** What one row of the oplog does to its entity. */
export type Operation = "upsert" | "delete" | "sync_start" | "sync_end";

/** Where a row came from: a full read of the collection, or its change stream. */
export type Origin = "copy" | "stream";

/** One row of the oplog as the API shows it. */
export interface OplogEntry {
  /** Its position: rising in commit order, without gaps over all entities. */
  readonly id: number;
  readonly operation: Operation;
  /** The row's primary key as text; "" for `sync_start` and `sync_end`. */
  readonly doc_id: string;
  /** Name of the entity. */
  readonly entity: string;
  /** Id of the entity's version. */
  readonly version: number;
  readonly origin: Origin;
  /** BSON type byte of the document's `_id` (https://bsonspec.org/spec.html); 0 for `sync_start` and `sync_end`. */
  readonly id_type: number;
  /** The source transaction that the row belongs to; null where it belongs to none. */
  readonly transaction: string | null;
  /** Whether it is the last row of its entity in that transaction: up to here its readers see all or nothing. */
  readonly transaction_end: boolean;
  /** One value a column, in the order of the shape, without the id; null for all but `upsert`. */
  readonly data: readonly unknown[] | null;
  /** When its batch was committed: RFC 3339, UTC with `Z`. */
  readonly created_at: string;
}
