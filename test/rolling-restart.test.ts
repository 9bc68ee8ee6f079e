import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CacheGaps } from "./support/cache-gaps.ts";
import { EmcacheApi, type EntityRequest } from "./support/emcache-api.ts";
import { EmcacheProcess } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { compareCache, expectedTable } from "./support/oracle.ts";
import { type TestMongo, startTestMongo } from "./support/test-mongo.ts";
import { type TestPostgres, startTestPostgres } from "./support/test-postgres.ts";
import { testScale } from "./support/test-scale.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

/**
 * What a cache may stand still while another process is restarted: 5 s is promised. Beside other suites on a busy
 * machine only a hang is to fail; `EMCACHE_TEST_SCALE=full` holds it to the promise.
 */
const GAP_MS_MAX = testScale() >= 1 ? 5_000 : 30_000;

/** Beats that each cache shows before the next process is restarted. */
const BEATS_BETWEEN = 20;

const DEADLINE_MS = 90_000;

const root = useTestFolder("rolling-restart");
let mongo: TestMongo;
let postgres: TestPostgres;
const processes = new Map<string, EmcacheProcess>();

beforeAll(async () => {
  [mongo, postgres] = await Promise.all([startTestMongo({ folder: root, syncOnCommit: false }), startTestPostgres()]);
  const postgresUri = await postgres.newDatabase();
  for (const name of ["a", "b", "c"]) {
    const folder = join(root, name);
    mkdirSync(folder);
    const emcache = await EmcacheProcess.start({
      folder,
      postgresUri,
      sources: { main: { uri: mongo.uri, database: mongo.databaseName } },
      settings: { "cache.entity_refresh_interval": 1, "database.postgres.min_connections": 1 },
    });
    processes.set(name, emcache);
  }
});

afterAll(async () => {
  for (const emcache of processes.values()) await emcache.dispose();
  await postgres.stop();
  await mongo.stop();
});

function cacheFile(name: string, entity: EntityRequest): string {
  return join(processes.get(name)?.cacheFolder ?? "", `${entity.name}.db`);
}

function apiOf(name: string): EmcacheApi {
  return new EmcacheApi(() => processes.get(name)?.address ?? "");
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return Math.round(performance.now() - startMs);
}

test("three processes are restarted one after the other under load: no cache stands still, nothing is lost", async () => {
  const names = [...processes.keys()];
  const load = workloadEntity("load", "load");
  const beat = workloadEntity("beat", "beat");
  await mongo.database.createCollection("load");
  await mongo.database.collection("beat").insertOne({ _id: "beat" as never, seq: 0 });
  for (const entity of [load, beat]) await apiOf("a").createEntity(entity);
  for (const name of names)
    for (const entity of [load, beat]) await apiOf(name).waitUntilLive(entity.name, DEADLINE_MS);

  const files = Object.fromEntries(names.map((name) => [name, cacheFile(name, beat)]));
  const gaps = new CacheGaps(mongo.database.collection("beat"), files);
  const workload = new Workload(mongo.database.collection("load"), { seed: 91, bulkSize: 50, idsMax: 5_000 });
  const end = new AbortController();
  const writing = Promise.all([gaps.run(end.signal), workload.writeUntil(end.signal)]);
  const allShow = (beats: number): Promise<unknown> =>
    eventually(
      () => names.every((name) => gaps.seen(name) >= beats),
      DEADLINE_MS,
      () => `all caches show beat ${beats}; they show ${JSON.stringify(gaps.results())}`,
    );
  try {
    await allShow(BEATS_BETWEEN);
    for (const name of names) {
      gaps.expect(name, false);
      const stopMs = await timed(async () => processes.get(name)?.stop());
      const startMs = await timed(async () => processes.get(name)?.restart());
      console.info(`${name}: stopped in ${stopMs} ms, started in ${startMs} ms`);
      gaps.expect(name, true);
      await allShow(gaps.beats + BEATS_BETWEEN);
    }
  } finally {
    end.abort();
    await writing;
  }
  await workload.settle();

  const words = gaps
    .results()
    .map((one) => `${one.name}: ${one.gapMs} ms (${one.gapWithRestartsMs} ms with its own restart)`);
  console.info(
    `rolling restart: longest time without progress: ${words.join(", ")}; ${JSON.stringify(workload.counts)}`,
  );
  for (const { name, gapMs } of gaps.results()) expect(gapMs, `gap of ${name}`).toBeLessThanOrEqual(GAP_MS_MAX);
  for (const entity of [load, beat]) {
    const expected = await expectedTable(mongo.database.collection(entity.source), entity);
    for (const name of names) {
      await eventually(
        () => compareCache(cacheFile(name, entity), entity, expected).isEqual,
        DEADLINE_MS,
        () =>
          `${entity.name} of ${name} equals MongoDB: ${compareCache(cacheFile(name, entity), entity, expected).report}`,
      );
    }
  }
}, 400_000);
