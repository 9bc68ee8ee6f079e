import { chownSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;

/** Noticed within seconds: the look at PostgreSQL every 2 s, or the next append. */
const NOTICE_DEADLINE_MS = 30_000;

const folder = useTestFolder("postgres-states");
const disposables: { dispose(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of disposables.splice(0).reverse()) await one.dispose();
});

function later<T extends { dispose(): Promise<void> }>(one: T): T {
  disposables.push(one);
  return one;
}

async function start(name: string, postgres: FaultyPostgres, user = "postgres"): Promise<TestSystem> {
  const uri = new URL(postgres.uri);
  uri.username = user;
  mkdirSync(join(folder, name));
  return later(
    await TestSystem.start({
      folder: join(folder, name),
      settings: { "snapshot.min_lag": 1_000_000_000 },
      emcache: { postgresUri: uri.href },
    }),
  );
}

/** What `/health` says of the parts that are not well. */
async function complaints(system: TestSystem): Promise<Record<string, string>> {
  const { components } = (await system.api.health()) as unknown as {
    components: Record<string, { status: string; reason: string | null }>;
  };
  return Object.fromEntries(
    Object.entries(components)
      .filter(([, { status }]) => status !== "healthy")
      .map(([name, { reason }]) => [name, reason ?? ""]),
  );
}

async function untilComplained(system: TestSystem, component: string, words: RegExp): Promise<void> {
  await eventually(
    async () => words.test((await complaints(system))[component] ?? ""),
    NOTICE_DEADLINE_MS,
    async () => `${component} complains of ${words.source}; it shows ${JSON.stringify(await complaints(system))}`,
  );
}

async function untilHealthy(system: TestSystem): Promise<void> {
  await eventually(
    async () => Object.keys(await complaints(system)).length === 0,
    DEADLINE_MS,
    async () => `all is well; it shows ${JSON.stringify(await complaints(system))}`,
  );
}

async function checkpointOf(postgres: FaultyPostgres): Promise<unknown> {
  const [row] = await postgres.query("SELECT * FROM emcache.source_checkpoint WHERE source = 'main'");
  return row;
}

test("fault 17: PostgreSQL out of disk: the checkpoint is frozen, and it heals itself", async (context) => {
  const line = { fault: 17, title: "PostgreSQL out of disk", source: "SecantusDB", lost: 0 } as const;
  const disk = SmallDisk.mount(join(folder, "small-disk"));
  if (typeof disk === "string") {
    reportFault({ ...line, injected: 0, skipped: disk });
    return context.skip(disk);
  }
  later({ dispose: async () => disk.unmount() });
  const postgres = later(await FaultyPostgres.start(join(folder, "full-server")));
  const { uid, gid } = statSync(join(folder, "full-server", "postgres"));
  chownSync(disk.path, uid, gid);
  await postgres.query(`CREATE TABLESPACE small LOCATION '${disk.path}'`);
  await postgres.query("ALTER DATABASE emcache SET default_tablespace = small");
  const system = await start("full", postgres);
  const entity = workloadEntity("full", "full");
  const workload = new Workload(system.collection("full"), { seed: 17, bulkSize: 100 });
  await workload.write("insert", 1_000);
  await system.create(entity);
  await system.expectEqual(entity);

  disk.fill();
  await workload.write("mixed", 3_000);
  await untilComplained(system, "source.main", /No space left/);
  const frozen = await checkpointOf(postgres);
  // It goes on trying, and reads are served.
  expect((await system.api.entity("full")).rows).toBeGreaterThan(0);
  await workload.write("mixed", 200);
  expect(await checkpointOf(postgres)).toEqual(frozen);

  disk.free();
  await system.expectEqual(entity, DEADLINE_MS);
  await system.expectLinearHistory("full", { isGapless: true });
  await untilHealthy(system);
  reportFault({ ...line, injected: 1, skipped: null });
}, 300_000);

test("fault 17: PostgreSQL read-only, out of connections, restarted: said in /health, and it goes on by itself", async () => {
  const postgres = later(await FaultyPostgres.start(join(folder, "states-server")));
  await postgres.query("CREATE ROLE app LOGIN");
  await postgres.query("ALTER DATABASE emcache OWNER TO app");
  const system = await start("states", postgres, "app");
  const entity = workloadEntity("states", "states");
  const workload = new Workload(system.collection("states"), { seed: 18 });
  await workload.write("insert", 500);
  await system.create(entity);
  await system.expectEqual(entity);

  await postgres.query("ALTER SYSTEM SET default_transaction_read_only = on");
  await postgres.query("SELECT pg_reload_conf()");
  await untilComplained(system, "postgres", /takes no writes: it is set to be read-only/);
  await workload.write("mixed", 300);
  await untilComplained(system, "source.main", /read-only transaction/);
  expect((await system.compare(entity)).rows).toBeGreaterThan(0);
  await postgres.query("ALTER SYSTEM RESET default_transaction_read_only");
  await postgres.query("SELECT pg_reload_conf()");
  await system.expectEqual(entity, DEADLINE_MS);
  await untilHealthy(system);

  await postgres.query("ALTER ROLE app CONNECTION LIMIT 0");
  await postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
  await untilComplained(system, "postgres", /too many connections/);
  await workload.write("mixed", 300);
  expect((await system.api.request("GET", "/api/oplogs/states?limit=10")).status).toBe(503);
  await postgres.query("ALTER ROLE app CONNECTION LIMIT -1");
  await system.expectEqual(entity, DEADLINE_MS);
  await untilHealthy(system);

  for (let round = 0; round < 3; round++) {
    const writing = workload.write("mixed", 300);
    await postgres.stop();
    await untilComplained(system, "postgres", /./);
    await postgres.restart();
    await writing;
    await system.expectEqual(entity, DEADLINE_MS);
  }
  await untilHealthy(system);
  await system.expectLinearHistory("states", { isGapless: true });
}, 300_000);
