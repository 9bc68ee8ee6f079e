import { mkdirSync, readFileSync, readdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, expect, test } from "vitest";
import { FaultyPostgres } from "./support/faulty-postgres.ts";
import type { HealthAnswer } from "./support/emcache-api.ts";
import { eventually } from "./support/eventually.ts";
import { startDevMongo } from "./support/test-mongo.ts";
import { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

/** What an upgrade or a downgrade of EMCache finds: data of another version, where the whole program meets it. */

const DEADLINE_MS = 90_000;
/** Whose programs are not on any machine that runs this; the embedded server is newer. */
const OLDER_POSTGRES = "8";

const root = useTestFolder("upgrade");
const entity = workloadEntity("items", "items");
const started: { dispose(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of started.splice(0).toReversed()) await one.dispose();
});

async function startSystem(name: string, postgresUri?: string): Promise<TestSystem> {
  const folder = join(root, name);
  mkdirSync(folder, { mode: 0o755 });
  const system = await TestSystem.startOn(
    { folder, ...(postgresUri === undefined ? {} : { emcache: { postgresUri } }) },
    await startDevMongo({ folder }),
  );
  started.push(system);
  await new Workload(system.collection("items"), { seed: 5 }).write("insert", 500);
  await system.create(entity, DEADLINE_MS);
  return system;
}

interface PartHealth {
  readonly status: string;
  readonly code: string | null;
  readonly hint: string | null;
  readonly reason: string | null;
}

function partOf(health: HealthAnswer, part: string): PartHealth | undefined {
  return (health["components"] as Record<string, PartHealth>)[part];
}

/** An external server has no data directory of ours. */
const isPostgresExternal = (process.env["EMCACHE_TEST_POSTGRES_URI"] ?? "") !== "";

test.skipIf(isPostgresExternal)(
  "an embedded database of an older PostgreSQL is set aside, its entities come back, and everything is copied anew",
  async () => {
    const system = await startSystem("older-postgres");
    await system.emcache.stop();
    const data = join(system.folder, "data");
    writeFileSync(join(data, "postgres", "PG_VERSION"), `${OLDER_POSTGRES}\n`);
    // Two starts: it is no loop.
    for (const event of ["embedded_postgres_set_aside", null]) {
      await system.emcache.restart();
      await system.api.waitUntilLive("items", DEADLINE_MS);
      await system.expectEqual(entity, DEADLINE_MS);
      const errors = system.emcache.logLines().filter(({ level }) => level === "error");
      expect(errors.map((line) => line.event)).toEqual(event === null ? [] : [event]);
      await system.emcache.stop();
    }
    const asides = readdirSync(data).filter((name) => name.startsWith(`postgres.set-aside-${OLDER_POSTGRES}-`));
    expect(asides).toHaveLength(1);
    expect(readFileSync(join(data, asides[0] ?? "", "PG_VERSION"), "utf8")).toBe(`${OLDER_POSTGRES}\n`);
  },
  300_000,
);

test.each([
  ["older", 0],
  ["newer", 2],
])(
  "a cache file of a format that is %s is set aside and built anew",
  async (age, format) => {
    const system = await startSystem(`${age}-format`);
    await system.emcache.stop();
    const database = new Database(realpathSync(system.cacheFile("items")));
    database.pragma(`user_version = ${format}`);
    database.close();
    await system.emcache.restart();
    await eventually(
      () => readdirSync(system.emcache.cacheFolder).some((name) => name.endsWith(`-${age}-format`)),
      DEADLINE_MS,
      () => `a file is set aside; there are ${readdirSync(system.emcache.cacheFolder).join(", ")}`,
    );
    await system.expectEqual(entity, DEADLINE_MS);
  },
  300_000,
);

test("a downgrade is refused with words: the process stays, serves its caches, and goes on once the schema is its own", async () => {
  const server = await FaultyPostgres.start(join(root, "schema-postgres"));
  started.push(server);
  const system = await startSystem("schema", server.uri);
  await system.emcache.stop();
  await server.query(
    "INSERT INTO emcache.schema_migration (version, name) SELECT max(version) + 1, 'later' FROM emcache.schema_migration",
  );
  await system.emcache.restart();
  const part = partOf(await system.api.health(), "postgres");
  expect(part).toMatchObject({ status: "degraded", code: "schema_newer" });
  expect(part?.hint).toContain("a downgrade is not possible");
  expect((await system.compare(entity)).isEqual).toBe(true);
  expect(system.emcache.isRunning).toBe(true);

  await server.query("UPDATE emcache.schema_migration SET is_additive = true WHERE name = 'later'");
  await eventually(
    async () => partOf(await system.api.health(), "postgres")?.status === "healthy",
    DEADLINE_MS,
    "it goes on beside a schema that has more, but nothing that it can't bear",
  );
  await system.expectEqual(entity, DEADLINE_MS);
  expect(system.emcache.logLines().some(({ event }) => event === "schema_newer")).toBe(true);
}, 300_000);
