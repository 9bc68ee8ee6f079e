/** A compressed form of a snapshot's file, made once and stored beside it. */
export interface SnapshotCompression {
  /** As `content-encoding` names it. */
  readonly coding: "zstd" | "gzip";
  readonly size_bytes: number;
  /** SHA-256 of the compressed file, lower-case hex. */
  readonly sha256: string;
}

/** What is known of one snapshot: an immutable, verified SQLite file of one entity at one position. */
export interface SnapshotManifest {
  /** Names the snapshot among those of its entity; part of its file's name. */
  readonly id: string;
  readonly entity: string;
  /** Id of the entity's version. */
  readonly version: number;
  readonly log_id: string;
  /** The file holds exactly what the oplog says up to and including this position. */
  readonly position: number;
  /** Random tag of the batch that holds `position`; proof that a reader shares the log's history. */
  readonly tag: string;
  /** Cluster time of the source at `position`, as seconds since 1970 (a BSON timestamp's upper half); null if unknown. */
  readonly cluster_time_s: number | null;
  /** Rows in the table `data`. */
  readonly rows: number;
  readonly size_bytes: number;
  /** SHA-256 of the file, lower-case hex. */
  readonly sha256: string;
  /** The forms that are stored beside the file itself. */
  readonly compressions: readonly SnapshotCompression[];
  /** RFC 3339, UTC with `Z`. */
  readonly created_at: string;
}
