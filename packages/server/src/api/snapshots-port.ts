import type { SnapshotManifest } from "@emcache/protocol";

/** How a file's bytes are sent: `identity` as they are. */
export type ContentCoding = "identity" | "gzip" | "zstd";

/** A snapshot and its file on this machine. */
export interface SnapshotFile {
  readonly manifest: SnapshotManifest;
  readonly path: string;
}

/** One stored form of a snapshot's file. */
export interface SnapshotForm {
  readonly coding: ContentCoding;
  readonly path: string;
  readonly sizeBytes: number;
  /** Of this form, lower-case hex. */
  readonly sha256: string;
  /** See `FileSums` in snapshot/file-sums.ts. */
  readonly chunkSums: Uint32Array;
}

/** A snapshot that this machine can send. */
export interface SnapshotForms {
  readonly manifest: SnapshotManifest;
  /** The file itself first, then its compressed forms. */
  readonly forms: readonly SnapshotForm[];
}

/** Where a snapshot is: its file on this machine, or where to ask for it. */
export type FoundSnapshot =
  | { readonly kind: "file"; readonly file: SnapshotForms }
  | {
      readonly kind: "elsewhere";
      /** Null: only the other process knows. */
      readonly manifest: SnapshotManifest | null;
      /** URL of the bytes themselves in object storage, or of the holder's own answer. */
      readonly url: string;
      readonly isObject: boolean;
    };

/** A point of the log, or a time of the source in whole seconds since 1970. */
export type PointInTime = { readonly position: number } | { readonly timeS: number };

/** The snapshots of this process, and of all that share its PostgreSQL. */
export interface SnapshotsPort {
  /** @throws EmcacheError `entity_not_found`, `snapshot_not_ready`, `snapshot_damaged` */
  create(entityName: string, signal: AbortSignal): Promise<SnapshotManifest>;
  /** The newest verified one of the live version on this machine. */
  newest(entityName: string): Promise<SnapshotFile | null>;
  list(entityName?: string): Promise<readonly SnapshotManifest[]>;
  /**
   * Where a snapshot is: the newest of a version (null: of the live one), or the one of an id.
   * @throws EmcacheError `snapshot_elsewhere`, `object_store_unavailable`, `postgres_unavailable`
   */
  find(
    entityName: string,
    wanted: { readonly version: number | null; readonly id: string | null },
    coding: ContentCoding,
    signal: AbortSignal,
  ): Promise<FoundSnapshot | null>;
  /** What that snapshot is, wherever it lies; no byte of it is fetched. @throws EmcacheError `postgres_unavailable` */
  manifest(
    entityName: string,
    wanted: { readonly version: number | null; readonly id: string | null },
    signal: AbortSignal,
  ): Promise<SnapshotManifest | null>;
  /** @throws EmcacheError `point_unreachable`, `restore_refused`, `snapshot_not_ready` */
  restore(entityName: string, point: PointInTime, signal: AbortSignal): Promise<FoundSnapshot>;
  /** @throws EmcacheError `snapshot_not_found` */
  remove(entityName: string, id: string, signal: AbortSignal): Promise<void>;
  /** A file that was being sent is not what was stored: it is not handed out again. */
  damaged(file: SnapshotForms, path: string): Promise<void>;
  /**
   * The file that EMCache's earlier Go client starts from: no view, stamped for its way of replaying, in mode `sync`
   * while the entity's first copy is running.
   * @throws EmcacheError `snapshot_not_ready`
   */
  legacyFile(entityName: string, coding: ContentCoding, signal: AbortSignal): Promise<string>;
}
