import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { allMigrations } from "./migrations/all-migrations.ts";
import { type WithClientOptions, withClient } from "./with-client.ts";
import { toEmcacheError } from "./postgres-error.ts";

/** Key of the advisory lock under which the schema changes; arbitrary, the same in every version. */
const MIGRATION_LOCK = "7236820517439482001";

/** The oldest server that has what the schema uses (gen_random_uuid, partitions as rows' targets of upserts). */
const SERVER_VERSION_MIN = 130_000;

/**
 * Brings the schema `emcache` to this program's version: each missing step once, all in one transaction under an
 * advisory lock, so that processes that start together wait for one another. Nothing is done where nothing is missing.
 *
 * @throws schema_newer, postgres_unsuitable, postgres_unavailable.
 */
export async function migrate(pool: pg.Pool, options: WithClientOptions): Promise<void> {
  await withClient(
    pool,
    options,
    async (client) => {
      await requireSuitableServer(client);
      if ((await schemaVersion(client)) === allMigrations.length) return;
      await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`);
      await client.query(`CREATE SCHEMA IF NOT EXISTS emcache;
        CREATE TABLE IF NOT EXISTS emcache.schema_migration (
          version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
      const reached = await schemaVersion(client);
      for (const { version, name, sql } of allMigrations.slice(reached)) {
        await client.query(sql);
        await client.query("INSERT INTO emcache.schema_migration (version, name) VALUES ($1, $2)", [version, name]);
      }
      await client.query("COMMIT");
    },
    toMigrationError,
  );
}

async function requireSuitableServer(client: pg.PoolClient): Promise<void> {
  const { rows } = await client.query<{ number: number; text: string; encoding: string; standby: boolean }>(
    `SELECT current_setting('server_version_num')::integer AS number, current_setting('server_version') AS text,
            current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby`,
  );
  const server = rows[0];
  if (server === undefined) throw new EmcacheError("postgres_unavailable", "PostgreSQL did not tell its version");
  if (server.number < SERVER_VERSION_MIN) {
    throw new EmcacheError("postgres_unsuitable", `this is PostgreSQL ${server.text}; 13 or newer is needed`);
  }
  if (server.encoding !== "UTF8") {
    throw new EmcacheError("postgres_unsuitable", `the database's encoding is ${server.encoding}; UTF8 is needed`, {
      hint: "Create the database with ENCODING 'UTF8' TEMPLATE template0.",
    });
  }
  if (server.standby) {
    throw new EmcacheError("postgres_unavailable", "this PostgreSQL is a standby; the primary is needed");
  }
}

/** Number of steps that the database has; 0 for a fresh one. @throws schema_newer */
async function schemaVersion(client: pg.PoolClient): Promise<number> {
  const table = await client.query<{ exists: boolean }>(
    "SELECT to_regclass('emcache.schema_migration') IS NOT NULL AS exists",
  );
  if (table.rows[0]?.exists !== true) return 0;
  const { rows } = await client.query<{ version: number }>(
    "SELECT coalesce(max(version), 0) AS version FROM emcache.schema_migration",
  );
  const version = rows[0]?.version ?? 0;
  if (version > allMigrations.length) {
    throw new EmcacheError(
      "schema_newer",
      `the schema "emcache" has version ${version}; this EMCache knows up to ${allMigrations.length}`,
      { details: { schema_version: version, known_version: allMigrations.length } },
    );
  }
  return version;
}

function toMigrationError(error: unknown): Error {
  const mapped = toEmcacheError(error);
  if (!(mapped instanceof EmcacheError) || mapped.code !== "internal") return mapped;
  return new EmcacheError("postgres_unsuitable", `the schema could not be made: ${mapped.message}`, { cause: error });
}
