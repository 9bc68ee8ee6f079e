/**
 * Why a document differs. `missing`: the source has it, the cache has no row. `extra`: the cache has a row, the source
 * no document. `older`: the row is what the log had of it before. `differs`: as the log never had it, as far as it
 * reaches back.
 */
export type DifferenceReason = "missing" | "extra" | "older" | "differs";

/** One document that is not in the cache as it is in the source. */
export interface Difference {
  /** The row's primary key as text. */
  readonly docId: string;
  /** BSON type of the document's `_id`. */
  readonly idType: string;
  readonly reason: DifferenceReason;
  /** Columns whose values differ; empty for a row that is missing or extra. */
  readonly columns: readonly string[];
  /** Position of the log row whose state an `older` row has; else null. */
  readonly position: number | null;
  /** Whether it was repaired; null where nobody asked for it. */
  readonly repaired: boolean | null;
}

/** How far a verification is. */
export interface VerifyProgress {
  readonly documents: number;
  /** By the collection's metadata. */
  readonly documentsEstimate: number;
  readonly differences: number;
}

/** What a verification found. */
export interface VerifyResult {
  readonly entity: string;
  readonly version: number;
  /** Documents of the source that were read. */
  readonly documents: number;
  /** Documents whose row was compared. */
  readonly compared: number;
  /** Documents that have no row by the entity's definition (rejects, another type's id). */
  readonly rejected: number;
  /** Documents that changed while they were read: the stream has newer news of them. */
  readonly skipped: number;
  /** Rows of the cache that were looked at for one that the source no longer has. */
  readonly rows: number;
  readonly differences: number;
  readonly reasons: Readonly<Record<DifferenceReason, number>>;
  readonly repaired: number;
  /** A copy was asked for, because the `_id` of a row that is to go can't be told from its text. */
  readonly copyRequested: boolean;
  /** Position of the log that the cache had at the end. */
  readonly position: number;
  readonly durationMs: number;
}

export interface VerifyOptions {
  /** Logs the state of each differing document once more. */
  readonly repair: boolean;
  /** Differences that are told one by one; the others are counted. */
  readonly listMax: number;
}

/** Told while a verification runs. */
export interface VerifyListener {
  onProgress(progress: VerifyProgress): void;
  onDifference(difference: Difference): void;
}
