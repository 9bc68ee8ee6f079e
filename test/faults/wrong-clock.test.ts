import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { EmcacheApi } from "../support/emcache-api.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { compareCache, expectedTable } from "../support/oracle.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;
const HOUR_S = 3_600;

const folder = useTestFolder("wrong-clock");
const cleanUps: (() => Promise<void>)[] = [];

afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

/** Sets a wrong clock; the file is read by the process itself. */
function setClock(name: string, text: string | number): void {
  const file = clockFile(name);
  writeFileSync(file, String(text));
  chmodSync(file, 0o644);
}

function clockFile(name: string): string {
  return join(folder, `clock-${name}`);
}

/** A library that lets PostgreSQL see a wrong clock; null, and why, without a C compiler. */
function compileClock(): { library: string } | { reason: string } {
  const library = join(folder, "shifted-clock.so");
  const source = fileURLToPath(new URL("../support/shifted-clock.c", import.meta.url));
  try {
    execFileSync("cc", ["-shared", "-fPIC", "-o", library, `-DCLOCK_FILE="${clockFile("postgres")}"`, source, "-ldl"]);
    chmodSync(library, 0o755);
    return { library };
  } catch (error) {
    return { reason: `PostgreSQL's clock can't be set: ${error instanceof Error ? error.message : ""}` };
  }
}

function environmentOf(name: string): Record<string, string> {
  const preload = fileURLToPath(new URL("../support/shifted-clock.mjs", import.meta.url));
  return { NODE_OPTIONS: `--import=${preload}`, EMCACHE_TEST_CLOCK_FILE: clockFile(name) };
}

test("fault 22: clocks of processes and of PostgreSQL set by an hour, forward and back: one writer, equal caches", async () => {
  const compiled = compileClock();
  setClock("postgres", 0);
  setClock("first", 0);
  setClock("second", 0);
  const library = "library" in compiled ? compiled.library : null;
  const postgres = await FaultyPostgres.start(join(folder, "postgres-server"), library);
  cleanUps.push(() => postgres.dispose());
  const system = await TestSystem.start({
    folder,
    settings: { "snapshot.min_lag": 1_000_000_000 },
    emcache: { postgresUri: postgres.uri, environment: environmentOf("first") },
  });
  cleanUps.push(() => system.dispose());
  mkdirSync(join(folder, "second"));
  const second = await EmcacheProcess.start({
    folder: join(folder, "second"),
    postgresUri: postgres.uri,
    sources: { main: { uri: system.mongo.uri, database: system.mongo.databaseName } },
    settings: { "snapshot.min_lag": 1_000_000_000 },
    environment: environmentOf("second"),
  });
  cleanUps.push(() => second.dispose());
  const entity = workloadEntity("clocked", "clocked");
  const workload = new Workload(system.collection("clocked"), { seed: 22, bulkSize: 40 });
  await workload.write("insert", 500);
  await system.create(entity);
  const expectBothEqual = async (): Promise<void> => {
    await system.expectEqual(entity, DEADLINE_MS);
    const expected = await expectedTable(system.collection("clocked"), entity);
    const file = join(second.cacheFolder, "clocked.db");
    await eventually(
      () => compareCache(file, entity, expected).isEqual,
      DEADLINE_MS,
      () => compareCache(file, entity, expected).report,
    );
  };
  await expectBothEqual();
  const epoch = await epochOf(postgres);
  const shifts: readonly (readonly [string, number])[] = [
    ["first", HOUR_S * 1_000],
    ["first", -HOUR_S * 1_000],
    ["second", HOUR_S * 1_000],
    ["first", 0],
    ...(library === null
      ? []
      : ([
          ["postgres", HOUR_S],
          ["postgres", -HOUR_S],
          ["postgres", 0],
        ] as const)),
  ];
  for (const [whose, shift] of shifts) {
    const writing = workload.write("mixed", 600);
    setClock(whose, shift);
    await writing;
    if (whose === "postgres") expect(Math.abs((await clockDifferenceS(postgres)) - shift)).toBeLessThan(60);
    await expectBothEqual();
    // A lag is how long ago something was, not what two clocks say.
    const { lag_ms: lagMs } = await system.api.entity("clocked");
    expect(Math.abs(lagMs ?? 0), `${whose} by ${shift}: lag_ms ${lagMs}`).toBeLessThan(60_000);
  }
  // Nobody was taken for dead.
  expect(await epochOf(postgres)).toBe(epoch);

  // With every clock different, a writer that dies is still found dead, and only it.
  setClock("first", HOUR_S * 1_000);
  setClock("second", -HOUR_S * 1_000);
  const writing = workload.write("mixed", 600);
  await system.emcache.kill();
  await eventually(async () => (await epochOf(postgres)) > epoch, DEADLINE_MS, "the other process takes over");
  await writing;
  await system.emcache.restart();
  await expectBothEqual();
  await eventually(
    () => new EmcacheApi(() => second.address).waitUntilLive("clocked", 1_000),
    DEADLINE_MS,
    "the second process serves it",
  );
  await system.expectLinearHistory("clocked", { isGapless: true });
  reportFault({
    fault: 22,
    title: "Clocks set by an hour",
    source: "SecantusDB",
    injected: shifts.length + 2,
    lost: 0,
    skipped: "reason" in compiled ? compiled.reason : null,
  });
}, 300_000);

async function epochOf(postgres: FaultyPostgres): Promise<number> {
  const [row] = await postgres.query<{ epoch: string }>("SELECT epoch FROM emcache.source_lease WHERE source = 'main'");
  return Number(row?.epoch);
}

/** How far PostgreSQL's clock is before ours. */
async function clockDifferenceS(postgres: FaultyPostgres): Promise<number> {
  const [row] = await postgres.query<{ epoch: number }>(
    "SELECT extract(epoch FROM clock_timestamp())::float8 AS epoch",
  );
  return (row?.epoch ?? 0) - Date.now() / 1_000;
}
