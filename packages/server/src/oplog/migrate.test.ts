import { afterAll, beforeAll, expect, test } from "vitest";
import pg from "pg";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { migrate } from "./migrate.ts";
import { allMigrations } from "./migrations/all-migrations.ts";

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());

test("versions count from one, without gaps", () => {
  expect(allMigrations.map(({ version }) => version)).toEqual(allMigrations.map((_, index) => index + 1));
});

test("processes that start together migrate once", async () => {
  const uri = await server.newDatabase();
  const pools = Array.from({ length: 6 }, () => new pg.Pool({ connectionString: uri, max: 1 }));
  await Promise.all(pools.map((pool) => migrate(pool, { signal: AbortSignal.timeout(30_000), timeoutMs: 30_000 })));
  const { rows } = await (pools[0] as pg.Pool).query("SELECT version FROM emcache.schema_migration ORDER BY version");
  expect(rows).toEqual(allMigrations.map(({ version }) => ({ version })));
  await Promise.all(pools.map((pool) => pool.end()));
});

test("a database of a newer version, or a user without rights, is told in words", async () => {
  const uri = await server.newDatabase();
  const pool = new pg.Pool({ connectionString: uri });
  const options = { signal: AbortSignal.timeout(30_000), timeoutMs: 30_000 };
  await pool.query("CREATE ROLE poor LOGIN PASSWORD 'p'").catch(() => undefined);
  const poorUri = new URL(uri);
  poorUri.username = "poor";
  poorUri.password = "p";
  const poor = new pg.Pool({ connectionString: poorUri.href });
  await expect(migrate(poor, options)).rejects.toMatchObject({ code: "postgres_unsuitable" });
  await poor.end();
  await migrate(pool, options);
  await pool.query("INSERT INTO emcache.schema_migration (version, name) VALUES (999, 'later')");
  await expect(migrate(pool, options)).rejects.toMatchObject({ code: "schema_newer" });
  await pool.end();
});
