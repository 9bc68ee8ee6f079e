import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { allMigrations } from "./migrations/all-migrations.ts";
import type { Migration } from "./migrations/migration.ts";
import { requireNoOlderProcess } from "./process-records.ts";
import { type WithClientOptions, withClient } from "./with-client.ts";
import { toEmcacheError } from "./postgres-error.ts";

/** Key of the advisory lock under which the schema changes; arbitrary, the same in every version. */
const MIGRATION_LOCK = "7236820517439482001";

/** The step from which on the database says of each step whether it is additive. */
const ADDITIVE_KNOWN_FROM = 10;

/** The oldest server that has what the schema uses (gen_random_uuid, partitions as rows' targets of upserts). */
const SERVER_VERSION_MIN = 130_000;

/**
 * Brings the schema `emcache` to this program's version: each missing step once, all in one transaction under an
 * advisory lock, so that processes that start together wait for one another. Nothing is done where nothing is missing,
 * or where a newer version has made further steps beside which this program can go on.
 *
 * @param steps all that this program knows; another list is for tests
 * @returns the schema's version: higher than this program's where a newer one was here first.
 * @throws schema_newer, schema_in_use, postgres_unsuitable, postgres_unavailable.
 */
export async function migrate(
  pool: pg.Pool,
  options: WithClientOptions,
  steps: readonly Migration[] = allMigrations,
): Promise<number> {
  return withClient(
    pool,
    options,
    async (client) => {
      await requireSuitableServer(client);
      const found = await schemaVersion(client, steps.length);
      if (found >= steps.length) return found;
      await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`);
      await client.query(`CREATE SCHEMA IF NOT EXISTS emcache;
        CREATE TABLE IF NOT EXISTS emcache.schema_migration (
          version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
      const reached = await schemaVersion(client, steps.length);
      await requireNoOlderProcess(client, reached, steps.slice(reached));
      for (const step of steps.slice(reached)) await makeStep(client, step);
      await client.query("COMMIT");
      return Math.max(reached, steps.length);
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

async function makeStep(client: pg.ClientBase, { version, name, isAdditive, sql }: Migration): Promise<void> {
  await client.query(sql);
  await client.query("INSERT INTO emcache.schema_migration (version, name) VALUES ($1, $2)", [version, name]);
  if (version < ADDITIVE_KNOWN_FROM) return;
  await client.query("UPDATE emcache.schema_migration SET is_additive = $2 WHERE version = $1", [version, isAdditive]);
}

/**
 * Number of steps that the database has; 0 for a fresh one.
 *
 * @param known how many this program knows
 * @throws schema_newer where one that it doesn't know isn't additive.
 */
export async function schemaVersion(client: pg.ClientBase, known: number): Promise<number> {
  const table = await client.query<{ exists: boolean }>(
    "SELECT to_regclass('emcache.schema_migration') IS NOT NULL AS exists",
  );
  if (table.rows[0]?.exists !== true) return 0;
  // As JSON, because an older schema has no column is_additive.
  const { rows } = await client.query<{ version: number; step: { is_additive?: boolean } }>(
    "SELECT version, to_json(m) AS step FROM emcache.schema_migration m ORDER BY version",
  );
  const version = rows.at(-1)?.version ?? 0;
  if (rows.some(({ version: step, step: { is_additive } }) => step > known && is_additive !== true)) {
    throw new EmcacheError(
      "schema_newer",
      `the schema "emcache" has version ${version}; this EMCache knows up to ${known}, and can't work beside what came after it`,
      { details: { schema_version: version, known_version: known } },
    );
  }
  return version;
}

function toMigrationError(error: unknown): Error {
  const mapped = toEmcacheError(error);
  if (!(mapped instanceof EmcacheError) || mapped.code !== "internal") return mapped;
  return new EmcacheError("postgres_unsuitable", `the schema could not be made: ${mapped.message}`, { cause: error });
}
