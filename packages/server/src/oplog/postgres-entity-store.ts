import { isDeepStrictEqual } from "node:util";
import { EmcacheError, type Entity, type EntityDefinition } from "@emcache/protocol";
import type pg from "pg";
import { sqlStateOf, toEmcacheError } from "./postgres-error.ts";
import { withClient } from "./with-client.ts";

/** A version of an entity and what it is now. */
export interface StoredEntity {
  readonly entity: Entity;
  /** `pending`: its first copy runs; `live`: it is what readers get; `retired`: a newer version took its place. */
  readonly state: "pending" | "live" | "retired";
}

const STATEMENT_TIMEOUT_MS = 20_000;

const SELECT_VERSIONS = "SELECT version, name, definition, state, created_at FROM emcache.entity_version";

interface VersionRow {
  version: number;
  name: string;
  definition: string;
  state: StoredEntity["state"];
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
export class PostgresEntityStore {
  readonly #pool: pg.Pool;
  readonly #onChange: () => void;

  constructor({ pool, onChange }: PostgresEntityStoreOptions) {
    this.#pool = pool;
    this.#onChange = onChange;
  }

  /** All versions that were not deleted, in the order of their ids. */
  async list(signal: AbortSignal): Promise<StoredEntity[]> {
    return withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
      const { rows } = await client.query<VersionRow>(`${SELECT_VERSIONS} WHERE deleted_position IS NULL ORDER BY version`);
      return rows.map(storedEntity);
    });
  }

  /** Registers the first version of a name, pending. @throws entity_exists */
  async create(definition: EntityDefinition, signal: AbortSignal): Promise<StoredEntity> {
    return this.#change(definition.name, signal, async (client, current) => {
      if (current.length > 0) throw exists(definition.name);
      return insertVersion(client, definition);
    });
  }

  /**
   * Registers a further version of a name, pending, in place of one that was pending; the live one stays until the new
   * one's copy is complete. The same definition as the newest version's changes nothing.
   *
   * @throws entity_not_found
   */
  async update(name: string, definition: EntityDefinition, signal: AbortSignal = never()): Promise<StoredEntity> {
    return this.#change(name, signal, async (client, current) => {
      const newest = current.at(-1);
      if (newest === undefined) throw new EmcacheError("entity_not_found", `there is no entity "${name}"`);
      if (isDeepStrictEqual(JSON.parse(newest.definition), JSON.parse(JSON.stringify({ ...definition, name })))) {
        return newest;
      }
      await client.query("UPDATE emcache.entity_version SET state = 'retired' WHERE name = $1 AND state = 'pending'", [name]);
      return insertVersion(client, { ...definition, name });
    });
  }

  /**
   * Ends the serving of all versions of a name; the log's storage goes with its partitions.
   *
   * @returns whether there was such an entity.
   */
  async delete(name: string, signal: AbortSignal = never()): Promise<boolean> {
    const existed = await withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
      await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
      const { rows } = await client.query<{ version: number; state: string }>(
        `UPDATE emcache.entity_version SET deleted_position = (SELECT position FROM emcache.head)
         WHERE name = $1 AND deleted_position IS NULL RETURNING version, state`,
        [name],
      );
      const versions = rows.map(({ version }) => version);
      for (const table of ["copy", "copy_bracket", "reject", "reject_total"]) {
        await client.query(`DELETE FROM emcache.${table} WHERE version = ANY ($1)`, [versions]);
      }
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
  ): Promise<StoredEntity> {
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
    return storedEntity(row);
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

function storedEntity({ version, definition, state, created_at }: VersionRow): StoredEntity {
  const parsed = JSON.parse(definition) as EntityDefinition;
  return { entity: { ...parsed, id: version, created_at: created_at.toISOString() }, state };
}

function exists(name: string): EmcacheError {
  return new EmcacheError("entity_exists", `there is an entity "${name}"`);
}

function never(): AbortSignal {
  return new AbortController().signal;
}
