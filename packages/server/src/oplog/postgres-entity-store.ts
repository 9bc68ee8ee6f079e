import { EmcacheError, type EntityDefinition } from "@emcache/protocol";
import type pg from "pg";
import type { EntityRecord, EntityStore } from "../entity/entity-store.ts";
import { isSameDefinition } from "../entity/same-definition.ts";
import { sqlStateOf, toEmcacheError } from "./postgres-error.ts";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

const SELECT_VERSIONS = "SELECT version, name, definition, state, created_at FROM emcache.entity_version";

interface VersionRow {
  version: number;
  name: string;
  definition: string;
  state: EntityRecord["state"];
  created_at: Date;
}

export interface PostgresEntityStoreOptions {
  readonly pool: pg.Pool;
  /** Told after each change. `CommitSignal.registryChanged` is meant. */
  readonly onChange: () => void;
}

/**
 * The registry of entities in PostgreSQL. Of a name's versions at most one is live and one pending; a pending one
 * becomes live, and the older one retired, in the transaction that appends the end of its first copy (`emcache.seal`).
 */
export class PostgresEntityStore implements EntityStore {
  readonly #pool: pg.Pool;
  readonly #onChange: () => void;

  constructor({ pool, onChange }: PostgresEntityStoreOptions) {
    this.#pool = pool;
    this.#onChange = onChange;
  }

  /** All versions that were not deleted, in the order of their ids. */
  async list(signal: AbortSignal): Promise<EntityRecord[]> {
    return withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
      const { rows } = await client.query<VersionRow>(
        `${SELECT_VERSIONS} WHERE deleted_position IS NULL ORDER BY version`,
      );
      return rows.map(recordOf);
    });
  }

  /** Registers the first version of a name, pending. @throws entity_exists */
  async create(definition: EntityDefinition, signal: AbortSignal): Promise<EntityRecord> {
    return this.#change(definition.name, signal, async (client, current) => {
      if (current.length > 0) throw exists(definition.name);
      return insertVersion(client, definition);
    });
  }

  async update(name: string, definition: EntityDefinition, signal: AbortSignal): Promise<EntityRecord> {
    return this.#change(name, signal, async (client, current) => {
      const live = current.find(({ state }) => state === "live");
      const pending = current.find(({ state }) => state === "pending");
      const newest = pending ?? live;
      if (newest === undefined) throw new EmcacheError("entity_not_found", `there is no entity "${name}"`);
      if (isSame(newest, definition)) return newest;
      if (pending !== undefined) {
        await client.query("UPDATE emcache.entity_version SET state = 'retired' WHERE version = $1", [pending.version]);
      }
      if (live !== undefined && isSame(live, definition)) return live;
      return insertVersion(client, { ...definition, name });
    });
  }

  /**
   * Ends the serving of all versions of a name; the log's storage goes with its partitions.
   *
   * @returns whether there was such an entity.
   */
  async delete(name: string, signal: AbortSignal): Promise<boolean> {
    const existed = await withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
      await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      // In the order of seal: an append that ends a copy locks the copy first, and then the entity's version.
      await client.query(
        `SELECT 1 FROM emcache.copy WHERE version IN (
           SELECT version FROM emcache.entity_version WHERE name = $1 AND deleted_position IS NULL
         ) ORDER BY version FOR UPDATE`,
        [name],
      );
      const { rows } = await client.query<{ version: number; state: string }>(
        `UPDATE emcache.entity_version SET deleted_position = (SELECT position FROM emcache.head)
         WHERE name = $1 AND deleted_position IS NULL RETURNING version, state`,
        [name],
      );
      const versions = rows.map(({ version }) => version);
      for (const table of ["copy", "copy_bracket", "reject", "reject_total"]) {
        await client.query(`DELETE FROM emcache.${table} WHERE version = ANY ($1)`, [versions]);
      }
      await client.query("DELETE FROM emcache.copy_pause WHERE name = $1", [name]);
      await client.query("COMMIT");
      return rows.some(({ state }) => state !== "retired");
    });
    if (existed) this.#onChange();
    return existed;
  }

  /** Runs `work` on the live and the pending version of a name, locked; tells of the change afterwards. */
  async #change(
    name: string,
    signal: AbortSignal,
    work: (client: pg.PoolClient, current: readonly VersionRow[]) => Promise<VersionRow>,
  ): Promise<EntityRecord> {
    const row = await withClient(
      this.#pool,
      { signal, timeoutMs: STATEMENT_TIMEOUT_MS },
      async (client) => {
        await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
        const { rows } = await client.query<VersionRow>(
          `${SELECT_VERSIONS} WHERE name = $1 AND deleted_position IS NULL AND state <> 'retired' ORDER BY version FOR UPDATE`,
          [name],
        );
        const changed = await work(client, rows);
        await client.query("COMMIT");
        return changed;
      },
      // Another process was faster: the unique index said so.
      (error) => (sqlStateOf(error) === "23505" ? exists(name) : toEmcacheError(error)),
    );
    this.#onChange();
    return recordOf(row);
  }
}

async function insertVersion(client: pg.PoolClient, definition: EntityDefinition): Promise<VersionRow> {
  const { rows } = await client.query<VersionRow>(
    `INSERT INTO emcache.entity_version (name, definition, state) VALUES ($1, $2, 'pending')
     RETURNING version, name, definition, state, created_at`,
    [definition.name, JSON.stringify(definition)],
  );
  const row = rows[0];
  if (row === undefined) throw new EmcacheError("internal", "the new version was not returned");
  return row;
}

function recordOf({ version, definition, state, created_at }: VersionRow): EntityRecord {
  const parsed = JSON.parse(definition) as EntityDefinition;
  return { entity: { ...parsed, id: version, created_at: created_at.toISOString() }, state };
}

function exists(name: string): EmcacheError {
  return new EmcacheError("entity_exists", `there is an entity "${name}"`);
}

function isSame(row: VersionRow, definition: EntityDefinition): boolean {
  return isSameDefinition(JSON.parse(row.definition) as EntityDefinition, definition);
}
