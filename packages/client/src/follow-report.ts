import type { FollowState } from "./follow-state.ts";

/** A value of a row: a number where it is exact, a bigint beyond 2^53. */
export type RowValue = string | number | bigint | null;

/** A row of an entity, by column; `id` is its primary key. */
export type Row = Readonly<Record<string, RowValue>>;

/** What became of one row: `before` is null where it is new, `after` where it is gone. */
export interface RowChange<R extends object = Row> {
  readonly id: string | number | bigint;
  readonly before: R | null;
  readonly after: R | null;
  /** The entity's position when this was visible. */
  readonly position: number;
}

/** An error as `status()` shows it. */
export interface ShownError {
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
}

/** How one entity stands. */
export interface EntityStatus {
  readonly name: string;
  readonly state: FollowState;
  /** Id of the version that is served; null where none is. */
  readonly version: number | null;
  /** Id of the log that it follows; null where nothing is served. */
  readonly logId: string | null;
  /** The file that is served holds everything up to here. */
  readonly position: number;
  /** Entries of the log after `position`, as last heard. */
  readonly behind: number;
  /** The file that is served; null where none is. */
  readonly path: string | null;
  /** What is wrong; null where all is well. */
  readonly error: ShownError | null;
  /** How often a fetched file took another one's place since the start. */
  readonly resets: number;
  /** Rows that could not be stored since the start: ids of two BSON types in one collection. */
  readonly rejects: number;
  /** When the server last answered for it, epoch ms; null before. */
  readonly heardAtMs: number | null;
}

/** What a follower tells, in the order in which it happened. */
export interface FollowReport {
  /** An entity stands otherwise than before; what `status.position` says can be read now. */
  status(status: EntityStatus): void;
  /** Rows of it may have changed. */
  rowsChanged(entity: string): void;
  /** Some changed rows, where they were asked for. What is returned is waited for before more is told. */
  changes(entity: string, changes: readonly RowChange[]): Promise<void>;
}
