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
}

interface SnapshotRow {
  manifest: string;
  holder: string;
  path: string;
}

const SELECT_SNAPSHOTS = "SELECT manifest, holder, path FROM emcache.snapshot";

/**
 * The register of snapshots that all processes share. Retention keeps the log from the newest one of each live entity
 * on. Every method throws `postgres_unavailable` while the database is away.
 */
export class PostgresSnapshotStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Registering the same id again changes nothing. */
  async insert({ manifest, holder, path }: StoredSnapshot, signal: AbortSignal): Promise<void> {
    await this.#query(
      `INSERT INTO emcache.snapshot (id, version, entity, position, manifest, holder, path)
       VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING`,
      [manifest.id, manifest.version, manifest.entity, manifest.position, JSON.stringify(manifest), holder, path],
      signal,
    );
  }

  /** Newest first; of all entities for null. */
  async list(entityName: string | null, signal: AbortSignal): Promise<StoredSnapshot[]> {
    return this.#query(
      `${SELECT_SNAPSHOTS} WHERE $1::text IS NULL OR entity = $1 ORDER BY position DESC, listed_at DESC`,
      [entityName],
      signal,
    );
  }

  /** The one of an entity version with the highest position. */
  async newest(version: number, signal: AbortSignal): Promise<StoredSnapshot | null> {
    const found = await this.#query(
      `${SELECT_SNAPSHOTS} WHERE version = $1 ORDER BY position DESC, listed_at DESC LIMIT 1`,
      [version],
      signal,
    );
    return found[0] ?? null;
  }

  /** Changes nothing where there is none of this id. */
  async remove(id: string, signal: AbortSignal): Promise<void> {
    await this.#query("DELETE FROM emcache.snapshot WHERE id = $1", [id], signal);
  }

  async #query(text: string, values: unknown[], signal: AbortSignal): Promise<StoredSnapshot[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<SnapshotRow>(text, values));
    return rows.map(({ manifest, holder, path }) => ({
      manifest: JSON.parse(manifest) as SnapshotManifest,
      holder,
      path,
    }));
  }
}
