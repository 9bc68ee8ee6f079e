import type { SnapshotManifest } from "@emcache/protocol";
import type pg from "pg";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** A snapshot that is registered: what it is, and where its file lies. */
export interface StoredSnapshot {
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
export interface ListedSnapshot extends StoredSnapshot {
  /** Whether it was deleted by another process than its holder, which still has to remove the file. */
  readonly isDeleted: boolean;
  /** Seconds since its holder last said that it has the file, by the database's clock. */
  readonly silentS: number;
}

interface SnapshotRow {
  manifest: string;
  holder: string;
  path: string;
  url: string;
  object_key: string | null;
  is_deleted: boolean;
  silent_s: number;
}

const SELECT_SNAPSHOTS = `SELECT manifest, holder, path, url, object_key, is_deleted,
  extract(epoch FROM now() - seen_at)::float8 AS silent_s FROM emcache.snapshot`;

/**
 * The register of snapshots that all processes share. Retention keeps the log from the newest one of each live entity
 * on. Every method throws `postgres_unavailable` while the database is away.
 */
export class PostgresSnapshotStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Registering the same id again changes nothing but where it is found. */
  async insert({ manifest, holder, path, url, objectKey }: StoredSnapshot, signal: AbortSignal): Promise<void> {
    const { id, version, entity, position } = manifest;
    await this.#query(
      `INSERT INTO emcache.snapshot (id, version, entity, position, manifest, holder, path, url, object_key)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       ON CONFLICT (id) DO UPDATE SET url = excluded.url, object_key = coalesce(excluded.object_key, snapshot.object_key)`,
      [id, version, entity, position, JSON.stringify(manifest), holder, path, url, objectKey],
      signal,
    );
  }

  /** Newest first; of all entities for null. Those that are marked as deleted too. */
  async list(entityName: string | null, signal: AbortSignal): Promise<ListedSnapshot[]> {
    const rows = await this.#query(
      `${SELECT_SNAPSHOTS} WHERE $1::text IS NULL OR entity = $1 ORDER BY position DESC, listed_at DESC`,
      [entityName],
      signal,
    );
    return rows.map((row) => ({
      manifest: JSON.parse(row.manifest) as SnapshotManifest,
      holder: row.holder,
      path: row.path,
      url: row.url,
      objectKey: row.object_key,
      isDeleted: row.is_deleted,
      silentS: row.silent_s,
    }));
  }

  /** Says where a snapshot lies in object storage; null: not any more. */
  async setObjectKey(id: string, objectKey: string | null, signal: AbortSignal): Promise<void> {
    await this.#query("UPDATE emcache.snapshot SET object_key = $2 WHERE id = $1", [id, objectKey], signal);
  }

  /** Says that a holder is there with all that it has registered, and where it is reached. */
  async seen(holder: string, url: string, signal: AbortSignal): Promise<void> {
    await this.#query("UPDATE emcache.snapshot SET seen_at = now(), url = $2 WHERE holder = $1", [holder, url], signal);
  }

  /** Marks it for its holder to remove. */
  async markDeleted(id: string, signal: AbortSignal): Promise<void> {
    await this.#query("UPDATE emcache.snapshot SET is_deleted = true WHERE id = $1", [id], signal);
  }

  /** Changes nothing where there is none of this id. */
  async remove(id: string, signal: AbortSignal): Promise<void> {
    await this.#query("DELETE FROM emcache.snapshot WHERE id = $1", [id], signal);
  }

  async #query(text: string, values: unknown[], signal: AbortSignal): Promise<SnapshotRow[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<SnapshotRow>(text, values));
    return rows;
  }
}
