import type pg from "pg";
import { EmcacheError } from "@emcache/protocol";
import { allMigrations } from "./migrations/all-migrations.ts";
import type { Migration } from "./migrations/migration.ts";
import { type WithClientOptions, withClient } from "./with-client.ts";

/** The step that made the table of processes. */
const RECORDED_FROM = 10;

/** A process that said nothing for so long is gone. Told by PostgreSQL's clock alone. */
const GONE_AFTER_S = 120;

/** A quarter of that: a few lost records don't make a process look gone. */
export const RECORD_INTERVAL_MS = 30_000;

/** Says that this process runs, and up to which step it knows the schema. */
export async function recordProcess(pool: pg.Pool, name: string, options: WithClientOptions): Promise<void> {
  await withClient(pool, options, (client) =>
    client.query(
      `WITH gone AS (DELETE FROM emcache.process WHERE seen_at < now() - make_interval(secs => $3) AND name <> $1)
       INSERT INTO emcache.process (name, schema_version) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET schema_version = excluded.schema_version, seen_at = now()`,
      [name, allMigrations.length, GONE_AFTER_S * 10],
    ),
  );
}

/** Says that this process has ended. */
export async function forgetProcess(pool: pg.Pool, name: string, options: WithClientOptions): Promise<void> {
  await withClient(pool, options, (client) => client.query("DELETE FROM emcache.process WHERE name = $1", [name]));
}

/**
 * Lets a step that isn't additive wait until no process runs that doesn't know it.
 *
 * @throws schema_in_use, with the processes' names.
 */
export async function requireNoOlderProcess(
  client: pg.ClientBase,
  reached: number,
  steps: readonly Migration[],
): Promise<void> {
  const breaking = steps.findLast(({ isAdditive }) => !isAdditive);
  if (breaking === undefined || reached < RECORDED_FROM) return;
  const { rows } = await client.query<{ name: string }>(
    `SELECT name FROM emcache.process WHERE schema_version < $1 AND seen_at > now() - make_interval(secs => $2)
       ORDER BY name`,
    [breaking.version, GONE_AFTER_S],
  );
  if (rows.length === 0) return;
  const names = rows.map(({ name }) => name);
  throw new EmcacheError(
    "schema_in_use",
    `step ${breaking.version} of the schema (${breaking.name}) can't be made beside processes of an older version: ${names.join(", ")}`,
    { details: { processes: names } },
  );
}
