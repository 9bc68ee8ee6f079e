import { afterAll, beforeAll, expect, test } from "vitest";
import pg from "pg";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import type { EmcacheError } from "@emcache/protocol";
import { ClaimStore } from "./claim-store.ts";
import { migrate } from "./migrate.ts";
import { allMigrations } from "./migrations/all-migrations.ts";
import type { Migration } from "./migrations/migration.ts";
import { batchOf, startLogFixture, testSignal, upsert } from "./testing/log-fixture.ts";

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());

test("versions count from one, without gaps", () => {
  expect(allMigrations.map(({ version }) => version)).toEqual(allMigrations.map((_, index) => index + 1));
});

test("a step that says that it is additive takes nothing away and renames nothing", () => {
  const takesAway =
    /\bDROP (?:TABLE|COLUMN|FUNCTION|SCHEMA|VIEW)\b|\bRENAME\b|\bALTER (?:COLUMN )?\w+ (?:SET DATA )?TYPE\b/i;
  // Before that step nobody asked for it.
  const steps = allMigrations.filter(({ version, isAdditive }) => version >= 10 && isAdditive);
  expect(steps.length).toBeGreaterThan(0);
  expect(steps.filter(({ sql }) => takesAway.test(sql)).map(({ name }) => name)).toEqual([]);
});

test("processes that start together migrate once", async () => {
  const uri = await server.newDatabase();
  const pools = Array.from({ length: 6 }, () => new pg.Pool({ connectionString: uri, max: 1 }));
  await Promise.all(pools.map((pool) => migrate(pool, { signal: AbortSignal.timeout(30_000), timeoutMs: 30_000 })));
  const { rows } = await (pools[0] as pg.Pool).query("SELECT version FROM emcache.schema_migration ORDER BY version");
  expect(rows).toEqual(allMigrations.map(({ version }) => ({ version })));
  await Promise.all(pools.map((pool) => pool.end()));
});

const options = () => ({ signal: AbortSignal.timeout(30_000), timeoutMs: 30_000 });

function furtherStep(isAdditive: boolean): Migration {
  const version = allMigrations.length + 1;
  const sql = "ALTER TABLE emcache.claim ADD COLUMN note text NOT NULL DEFAULT ''";
  return { version, name: "later", isAdditive, sql };
}

test("a user without rights is told in words", async () => {
  const uri = await server.newDatabase();
  const pool = new pg.Pool({ connectionString: uri });
  await pool.query("CREATE ROLE poor LOGIN PASSWORD 'p'").catch(() => undefined);
  const poorUri = new URL(uri);
  poorUri.username = "poor";
  poorUri.password = "p";
  const poor = new pg.Pool({ connectionString: poorUri.href });
  await expect(migrate(poor, options())).rejects.toMatchObject({ code: "postgres_unsuitable" });
  await poor.end();
  await pool.end();
});

test("an older program goes on beside a newer schema whose further steps are additive", async () => {
  const older = await startLogFixture(server);
  const log = await older.log("main");
  await log.append(batchOf([upsert("before")]), testSignal());
  const newer = [...allMigrations, furtherStep(true)];
  expect(await migrate(older.postgres.pool, options(), newer)).toBe(newer.length);
  // The one that runs goes on, and one of its version starts.
  await log.append(batchOf([upsert("after")]), testSignal());
  const second = await older.connect();
  await new ClaimStore(second.pool).upsertClaim({ name: "a", kind: "cache", versions: [1], position: 1 });
  expect((await older.readAll()).map(({ docId }) => docId)).toEqual(["before", "after"]);
  const { rows } = await older.postgres.pool.query("SELECT schema_version FROM emcache.process");
  expect(rows).toEqual([{ schema_version: allMigrations.length }, { schema_version: allMigrations.length }]);
  await older.stop();
});

test("a downgrade below a step that isn't additive is refused in words", async () => {
  const uri = await server.newDatabase();
  const pool = new pg.Pool({ connectionString: uri });
  await migrate(pool, options());
  await migrate(pool, options(), [...allMigrations, furtherStep(false)]);
  const refusal = await migrate(pool, options()).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "schema_newer", message: expect.stringContaining("can't work beside") });
  expect((refusal as EmcacheError).hint).toContain("Start at least the version that migrated it");
  // What a program of before `is_additive` would have left counts as not additive.
  await pool.query("INSERT INTO emcache.schema_migration (version, name) VALUES (999, 'later')");
  await expect(migrate(pool, options(), [...allMigrations, furtherStep(true)])).rejects.toMatchObject({
    code: "schema_newer",
  });
  await pool.end();
});

test("a step that isn't additive waits for the end of processes of an older version", async () => {
  const older = await startLogFixture(server);
  const newer = [...allMigrations, furtherStep(false)];
  const pool = new pg.Pool({ connectionString: older.uri });
  await expect(migrate(pool, options(), newer)).rejects.toMatchObject({
    code: "schema_in_use",
    message: expect.stringContaining(older.postgres.applicationName),
  });
  await older.stop();
  expect(await migrate(pool, options(), newer)).toBe(newer.length);
  await pool.end();
});
