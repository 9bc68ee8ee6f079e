import type { SnapshotManifest } from "@emcache/protocol";

/** A snapshot as it is registered: what it is, and where its file lies. */
export interface SnapshotRecord {
  readonly manifest: SnapshotManifest;
  /** Which process's directory holds the file. */
  readonly holder: string;
  /** Absolute path there. */
  readonly path: string;
}

/**
 * The register of snapshots that all processes share, in PostgreSQL. Retention keeps the log from the newest
 * registered snapshot of each entity on. Every method throws `postgres_unavailable` while the database is away.
 */
export interface SnapshotStore {
  /** Registering the same id again changes nothing. */
  insert(record: SnapshotRecord, signal: AbortSignal): Promise<void>;
  /** Newest first; of all entities for null. */
  list(entityName: string | null, signal: AbortSignal): Promise<SnapshotRecord[]>;
  /** The one with the highest position. */
  newest(version: number, signal: AbortSignal): Promise<SnapshotRecord | null>;
  /** Changes nothing where there is none of this id. */
  remove(id: string, signal: AbortSignal): Promise<void>;
}
