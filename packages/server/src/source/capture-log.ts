import type { LogRow, Reject } from "./log-row.ts";

/** How far a source's change stream has been captured. */
export interface StreamCheckpoint {
  /** BSON bytes of the resume token, opaque; null before the first one was seen. */
  readonly resumeToken: Uint8Array | null;
  /** Cluster time there, a BSON timestamp as an unsigned 64-bit number (seconds in the upper half); null if unknown. */
  readonly clusterTime: bigint | null;
  /**
   * Greatest open `H` of looked-up documents (architecture, "Full documents"): after a resume it holds for every
   * `_id` until the stream has passed it. Null where no looked-up state is ahead of the stream.
   */
  readonly lookupHorizon: bigint | null;
}

/**
 * `running`: it goes on from `lastId`. `done`: the version follows the stream. `stopped`: its policy stopped it at a
 * reject. `kept`: its collection is gone and its rows stay. A stopped or kept version takes nothing until a new copy.
 */
export type CopyState = "running" | "done" | "stopped" | "kept";

/** How far one copy is. A copy belongs to one entity version and has an id of its own. */
export interface CopyCheckpoint {
  readonly copyId: string;
  readonly version: number;
  readonly state: CopyState;
  /** BSON document `{"": _id}` of the last row appended; null before the first one. */
  readonly lastId: Uint8Array | null;
  /** Documents read so far. */
  readonly rowCount: number;
  /** The collection's estimated count when the copy began, for a percentage. */
  readonly rowCountEstimate: number;
}

/** What one append makes durable: rows, and the checkpoint that they justify, in one transaction (invariant 1). */
export interface CaptureBatch {
  readonly rows: readonly LogRow[];
  readonly rejects: readonly Reject[];
  /** Where the stream is once these rows are durable; null leaves the stored one. */
  readonly checkpoint: StreamCheckpoint | null;
  /** Copies whose state changes with these rows. A version has at most one copy; a new copyId replaces it. */
  readonly copies: readonly CopyCheckpoint[];
}

/** What the log says of an append. */
export interface AppendedBatch {
  /** Position of the first row; the others follow without gaps. 0 where the batch had no rows. */
  readonly firstPosition: number;
  readonly rowCount: number;
}

/** What the log knows of a source when its lease is taken. */
export interface CaptureStart {
  readonly checkpoint: StreamCheckpoint | null;
  readonly copies: readonly CopyCheckpoint[];
}

/**
 * The oplog as the one capturing process of a source sees it. Order: `load` once, then `append`s, one at a time.
 *
 * Every `append` is fenced by the lease's epoch: it throws `lease_lost` and appends nothing once another process has
 * taken the source over, whatever happened in between. A commit whose outcome is unknown is looked up by its tag
 * before it is repeated, so an append that resolves happened exactly once and one that throws `postgres_unavailable`
 * may be repeated as it is (same batch object) after the log is back.
 */
export interface CaptureLog {
  readonly sourceName: string;
  readonly epoch: number;
  load(signal: AbortSignal): Promise<CaptureStart>;
  append(batch: CaptureBatch, signal: AbortSignal): Promise<AppendedBatch>;
}
