import type { SnapshotManifest } from "@emcache/protocol";

/** A snapshot as it is registered: what it is, and where its file lies. */
export interface SnapshotRecord {
  readonly manifest: SnapshotManifest;
  /** Which process's directory holds the file. */
  readonly holder: string;
  /** Absolute path there. */
  readonly path: string;
  /** The holder's API as other processes and clients reach it; "" where they don't. */
  readonly url: string;
  /** Key of its file in object storage; null where it is not there. */
  readonly objectKey: string | null;
}

/** A registered snapshot as it is now. */
export interface ListedRecord extends SnapshotRecord {
  /** Whether it was deleted by another process than its holder, which still has to remove the file. */
  readonly isDeleted: boolean;
  /** Seconds since its holder last said that it has the file. */
  readonly silentS: number;
}

/**
 * The register of snapshots that all processes share, in PostgreSQL. Retention keeps the log from the newest
 * registered snapshot of each entity on. Every method throws `postgres_unavailable` while the database is away.
 */
export interface SnapshotStore {
  /** Registering the same id again changes nothing but where it is found. */
  insert(record: SnapshotRecord, signal: AbortSignal): Promise<void>;
  /** Newest first; of all entities for null. Those that are marked as deleted too. */
  list(entityName: string | null, signal: AbortSignal): Promise<ListedRecord[]>;
  /** Says where a snapshot lies in object storage; null: not any more. */
  setObjectKey(id: string, objectKey: string | null, signal: AbortSignal): Promise<void>;
  /** Says that a holder is there with all that it has registered, and where it is reached. */
  seen(holder: string, url: string, signal: AbortSignal): Promise<void>;
  /** Marks it for its holder to remove. */
  markDeleted(id: string, signal: AbortSignal): Promise<void>;
  /** Changes nothing where there is none of this id. */
  remove(id: string, signal: AbortSignal): Promise<void>;
}
