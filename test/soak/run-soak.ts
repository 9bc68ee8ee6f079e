import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../support/eventually.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { makeTestFolder } from "../support/test-folder.ts";
import { startKillableMongo } from "../support/test-mongo.ts";
import { TestSystem } from "../support/test-system.ts";
import { Workload, workloadEntity } from "../support/workload.ts";
import { MemorySeries } from "./memory-series.ts";
import { type ShownNumbers, shownNumbers } from "./shown-numbers.ts";

/**
 * `npm run soak`: a load on one EMCache for `EMCACHE_SOAK_MINUTES` (30), at `EMCACHE_SOAK_RATE` documents a second
 * (400), while PostgreSQL and the source are each restarted twice. After each restart and at the end the load pauses,
 * and what the API and `/metrics` show is compared with what the oracle computes from MongoDB, the cache file cell by
 * cell. At the end the whole log is read: no document may go back in time. Exit code 1 where anything differs.
 */
const minutes = Number(process.env["EMCACHE_SOAK_MINUTES"] ?? 30);
const rate = Number(process.env["EMCACHE_SOAK_RATE"] ?? 400);
const DEADLINE_MS = 120_000;

/** Resident memory may drift by this much: beyond, half an hour is a trend. Shorter runs only print it. */
const SLOPE_MIB_PER_MINUTE_MAX = 2;
const SLOPE_JUDGED_FROM_MINUTES = 15;

/** Parts of the run: after each but the last, one database is restarted. */
const RESTARTS = ["PostgreSQL", "MongoDB", "PostgreSQL", "MongoDB", null] as const;

interface Check {
  readonly part: string;
  readonly entity: string;
  readonly documents: number;
  readonly shown: ShownNumbers;
  readonly isEqual: boolean;
  readonly healedMs: number;
  readonly residentMib: number;
}

const folder = makeTestFolder("soak");
const [postgres, mongo] = await Promise.all([
  FaultyPostgres.start(join(folder, "postgres-server")),
  // Acknowledged writes must survive a restart of the source.
  startKillableMongo({ folder, syncOnCommit: true }),
]);
const system = await TestSystem.startOn({ folder, emcache: { postgresUri: postgres.uri } }, mongo).catch(
  async (error: unknown) => {
    await postgres.dispose();
    throw error;
  },
);
const memory = new MemorySeries();
const failures: string[] = [];
const checks: Check[] = [];

try {
  const loads = [];
  for (const [index, name] of ["users", "orders"].entries()) {
    const entity = workloadEntity(name, name);
    const workload = new Workload(system.collection(name), {
      seed: 800 + index,
      clients: 1,
      bulkSize: 40,
      idsMax: 20_000,
      isErrorExpected: true,
    });
    await workload.write("insert", 5_000);
    await system.create(entity, DEADLINE_MS);
    loads.push({ entity, workload });
  }
  const endMs = performance.now() + minutes * 60_000;
  for (const [index, restart] of RESTARTS.entries()) {
    const untilMs = performance.now() + Math.max(0, endMs - performance.now()) / (RESTARTS.length - index);
    const end = new AbortController();
    const writing = Promise.all(loads.map(({ workload }) => writeAtRate(workload, rate / loads.length, end.signal)));
    const sampling = sampleMemory(end.signal);
    let healedMs = 0;
    try {
      if (restart !== null) {
        await sleepUntil(performance.now() + (untilMs - performance.now()) / 2);
        healedMs = await restartDatabase(restart);
      }
      await sleepUntil(untilMs);
    } finally {
      end.abort();
      await Promise.all([writing, sampling]);
    }
    const part = restart === null ? "at the end" : `after restart ${index + 1} (${restart})`;
    for (const { entity, workload } of loads) {
      await workload.settle();
      checks.push(await check(part, entity, healedMs));
    }
    console.log(`${part}: checked; ${JSON.stringify(loads.map(({ workload }) => workload.counts))}`);
  }
  for (const { entity } of loads) {
    const report = await system.expectLinearHistory(entity.name);
    console.log(`history of ${entity.name}: ${report.rows} rows, no document goes back in time`);
  }
  judgeMemory();
} catch (error) {
  // With its place: a message of the source's own ("internal server error") says nothing of who asked for what.
  failures.push(error instanceof Error ? (error.stack ?? error.message) : "not an error");
} finally {
  printChecks();
  await system.dispose();
  await postgres.dispose();
}
for (const failure of failures) console.error(`FAILED: ${failure}`);
if (failures.length === 0) rmSync(folder, { recursive: true, force: true });
else console.error(`kept for a look: ${folder}`);
process.exitCode = failures.length === 0 ? 0 : 1;

/** Stops a database in order and starts it again; resolves with the ms until EMCache is healthy. */
async function restartDatabase(which: "PostgreSQL" | "MongoDB"): Promise<number> {
  const server = which === "PostgreSQL" ? postgres : mongo.server;
  await server.stop();
  await server.restart();
  const startedMs = performance.now();
  await eventually(
    async () => (await system.api.health()).status === "healthy",
    DEADLINE_MS,
    async () => `healthy after the restart of ${which}; it says ${JSON.stringify(await system.api.health())}`,
  );
  return Math.round(performance.now() - startedMs);
}

async function writeAtRate(workload: Workload, perSecond: number, signal: AbortSignal): Promise<void> {
  const bulk = 40;
  for (let nextMs = performance.now(); !signal.aborted; nextMs += (bulk / perSecond) * 1000) {
    await sleepUntil(nextMs);
    await workload.write("mixed", bulk);
    // What a restart held up is not made up for at once.
    nextMs = Math.max(nextMs, performance.now() - 1000);
  }
}

async function sampleMemory(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    memory.sample(system.emcache.process.pid);
    await delay(1000);
  }
}

async function sleepUntil(atMs: number): Promise<void> {
  const ms = atMs - performance.now();
  if (ms > 0) await delay(ms);
}

/** Waits until all has arrived, and compares everything that is shown with the truth. */
async function check(part: string, entity: ReturnType<typeof workloadEntity>, healedMs: number): Promise<Check> {
  await system.fence(entity, DEADLINE_MS);
  const comparison = await system.compare(entity);
  const documents = await system.collection(entity.source).countDocuments();
  const isRight = (shown: ShownNumbers): boolean =>
    shown.state === "live" &&
    shown.rows === documents &&
    shown.metricRows === documents &&
    shown.rejects === 0 &&
    shown.metricRejects === 0 &&
    shown.lagEntries === 0 &&
    shown.metricLagPositions === 0;
  let shown = await shownNumbers(system.api, entity.name);
  // Rows are counted again some time after a change, so numbers may be a few seconds old.
  await eventually(
    async () => isRight((shown = await shownNumbers(system.api, entity.name))),
    DEADLINE_MS,
    () => `${part}: the numbers of ${entity.name} show ${documents} documents; they show ${JSON.stringify(shown)}`,
  ).catch((error: unknown) => failures.push(error instanceof Error ? error.message : "not shown"));
  if (!comparison.isEqual) failures.push(`${part}: ${entity.name} differs from MongoDB: ${comparison.report}`);
  const { isEqual } = comparison;
  return { part, entity: entity.name, documents, shown, isEqual, healedMs, residentMib: memory.last };
}

function judgeMemory(): void {
  const slope = memory.slopeMibPerMinute();
  const words = slope === null ? "too few samples" : `${slope.toFixed(2)} MiB a minute after the warm-up`;
  console.log(`resident memory of EMCache: ${memory.last} MiB at the end, at most ${memory.most} MiB; slope ${words}`);
  if (minutes < SLOPE_JUDGED_FROM_MINUTES || slope === null) return;
  if (slope > SLOPE_MIB_PER_MINUTE_MAX) failures.push(`memory grows by ${words}`);
}

function printChecks(): void {
  console.table(
    checks.map(({ part, entity, documents, shown, isEqual, healedMs, residentMib }) => ({
      when: part,
      entity,
      "documents in MongoDB": documents,
      "rows: API": shown.rows,
      "rows: /metrics": shown.metricRows,
      rejects: shown.rejects,
      lag: shown.lagEntries,
      "file = MongoDB": isEqual ? "equal" : "DIFFERS",
      "healed in ms": healedMs,
      "RSS MiB": residentMib,
    })),
  );
}
