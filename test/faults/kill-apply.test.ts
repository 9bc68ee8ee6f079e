import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Int32 } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmcacheApi } from "../support/emcache-api.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { LogReplay } from "../support/log-replay.ts";
import { compareCache, expectedTable, openCache, readMetadata } from "../support/oracle.ts";
import { SeededRandom, seedOfRun } from "../support/seeded-random.ts";
import { startDevMongo } from "../support/test-mongo.ts";
import { type TestPostgres, startTestPostgres } from "../support/test-postgres.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { GENERATION, Workload, workloadEntity } from "../support/workload.ts";

/** Longest time between the first rows that a start applies and its kill: of large pages first, then of small ones. */
const KILL_DELAY_MS_MAX = 200;

/** Rows that wait in the log at each start: more than one page. More come while it runs. */
const BACKLOG_ROWS = 6_000;

const DEADLINE_MS = 60_000;

const folder = useTestFolder("kill-apply");
let mongo: Awaited<ReturnType<typeof startDevMongo>>;
let postgres: TestPostgres;
/** Captures, and is never killed. */
let capture: EmcacheProcess;
/** Keeps the cache, and is killed again and again. */
let replica: EmcacheProcess;

beforeAll(async () => {
  [mongo, postgres] = await Promise.all([startDevMongo({ folder }), startTestPostgres()]);
  const postgresUri = await postgres.newDatabase();
  const prepare = (name: string, roles: readonly string[]): Promise<EmcacheProcess> => {
    mkdirSync(join(folder, name));
    return EmcacheProcess.prepare({
      folder: join(folder, name),
      postgresUri,
      sources: { main: { uri: mongo.uri, database: mongo.databaseName } },
      settings: { roles, "snapshot.min_lag": 1_000_000_000 },
    });
  };
  capture = await prepare("capture", ["capture", "api"]);
  replica = await prepare("replica", ["replicate", "api"]);
  await capture.restart();
});

afterAll(async () => {
  await replica.dispose();
  await capture.dispose();
  await mongo.stop();
  await postgres.stop();
});

test("fault 2: invariant 5: position inside the cache: a file whose writer was killed in mid-apply is the log at its position", async () => {
  const kills = faultRepeats({ short: 3, full: 50 });
  const seed = seedOfRun();
  console.log(`kill in mid-apply: seed ${seed} (EMCACHE_TEST_SEED=${seed} repeats it)`);
  const random = new SeededRandom(seed);
  const entity = workloadEntity("applied", "applied");
  const collection = mongo.database.collection("applied");
  const workload = new Workload(collection, { seed, bulkSize: 200 });
  // Small bulks: they need not come faster than they are applied, only without a pause.
  const trickle = new Workload(collection, { seed: seed + 1, clients: 1, bulkSize: 5, firstId: 1_000_000 });
  await workload.write("insert", 3_000);
  const api = new EmcacheApi(() => capture.address);
  await api.createEntity(entity);
  const file = join(replica.cacheFolder, "applied.db");
  await replica.restart();
  await eventually(() => positionIn(file) > 0, DEADLINE_MS, "the cache is begun");
  const replay = await LogReplay.read(api, "applied");
  let inMidApply = 0;
  for (let round = 1; inMidApply < kills; round += 1) {
    expect(round, "starts that were still applying when they were killed").toBeLessThan(kills * 4);
    if (replica.isRunning) await replica.kill();
    const before = positionIn(file);
    await workload.write("mixed", BACKLOG_ROWS);
    replica.launch();
    const stop = new AbortController();
    const writing = trickle.writeUntil(stop.signal);
    await eventually(
      () => positionIn(file) > before,
      DEADLINE_MS,
      () => `it applies; at ${positionIn(file)}`,
    );
    // The random moment itself; nothing is waited for.
    await new Promise((resolve) => setTimeout(resolve, random.integer(0, KILL_DELAY_MS_MAX)));
    await replica.kill();
    stop.abort();
    await writing;
    await replay.readOn();
    const { position, table } = tableIn(file);
    expect(position).toBeGreaterThanOrEqual(before);
    const differing = differences(table, replay.tableAt(position));
    expect(differing, `${differing.length} rows differ from the log at ${position}`).toEqual([]);
    if (position < replay.lastPosition) inMidApply += 1;
    console.log(`kill in mid-apply: start ${round}: at ${position} of ${replay.lastPosition}`);
  }
  await replica.restart();
  // The stream has one order: where the last document is, everything before it is too.
  await collection.insertOne({ _id: "last" as never, seq: new Int32(GENERATION) });
  await eventually(() => tableIn(file).table.has("last"), DEADLINE_MS, "all of the log is applied");
  const comparison = compareCache(file, entity, await expectedTable(collection, entity));
  expect(comparison.isEqual, comparison.report).toBe(true);
  reportFault({ fault: 2, title: "kill in mid-apply", source: "dev-mongo", injected: kills, lost: 0, skipped: null });
}, 900_000);

function positionIn(file: string): number {
  return tableIn(file, false).position;
}

/** First column by primary key, and the position, in one read. */
function tableIn(file: string, isRead = true): { position: number; table: Map<string, unknown> } {
  const database = openCache(file);
  try {
    return database.transaction(() => {
      const rows = isRead ? (database.prepare("SELECT id, seq FROM data").raw().all() as [string, bigint][]) : [];
      const table = new Map<string, unknown>(rows.map(([id, seq]) => [id, Number(seq)]));
      return { position: readMetadata(database).position, table };
    })();
  } finally {
    database.close();
  }
}

function differences(is: ReadonlyMap<string, unknown>, should: ReadonlyMap<string, unknown>): string[] {
  const ids = new Set([...is.keys(), ...should.keys()]);
  return [...ids]
    .filter((id) => is.get(id) !== should.get(id))
    .map((id) => `${id}: ${JSON.stringify(is.get(id))} instead of ${JSON.stringify(should.get(id))}`);
}
