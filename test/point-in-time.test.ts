import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Collection, Double, Int32, Long, MongoClient } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevMongoProcess } from "./support/dev-mongo-process.ts";
import { EmcacheApi, type EntityRequest } from "./support/emcache-api.ts";
import { EmcacheProcess } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { LogReplay } from "./support/log-replay.ts";
import { openCache } from "./support/oracle.ts";
import { SeededRandom } from "./support/seeded-random.ts";
import { testScale } from "./support/test-scale.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { GENERATION, Workload, workloadEntity } from "./support/workload.ts";

const IS_FULL = testScale() >= 1;
/** Positions that are looked at, and how fast the source is written meanwhile. */
const POINTS = IS_FULL ? 50 : 5;
const WRITES_PER_S = IS_FULL ? 5_000 : 500;
const WRITING_MS = IS_FULL ? 40_000 : 8_000;
const DOCUMENTS = IS_FULL ? 20_000 : 2_000;
const DEADLINE_MS = IS_FULL ? 1_500_000 : 300_000;

const folder = useTestFolder("point-in-time");
const entity: EntityRequest = workloadEntity("moments", "moments");
let mongo: DevMongoProcess;
let client: MongoClient;
let emcache: EmcacheProcess;
let api: EmcacheApi;

beforeAll(async () => {
  mongo = await DevMongoProcess.start({ folder, flags: ["--oplog-mib-max", "1024"] });
  client = new MongoClient(mongo.uri);
  await client.connect();
  emcache = await EmcacheProcess.start({
    folder,
    sources: { main: { uri: mongo.uri, database: "app" } },
    settings: {
      "logging.level": "info",
      "snapshot.check_interval": 0.5,
      "snapshot.min_lag": WRITES_PER_S * 2,
      "snapshot.keep_count": 1_000,
    },
  });
  api = new EmcacheApi(() => emcache.address);
});

afterAll(async () => {
  await emcache.dispose();
  await client.close();
  await mongo.stop();
});

test(
  `snapshot(P) equals the replay of the log to P: ${POINTS} points under ${WRITES_PER_S} writes a second`,
  async () => {
    const collection = client.db("app").collection("moments");
    await new Workload(collection, { seed: 1, clients: 2, bulkSize: 500 }).write("insert", DOCUMENTS);
    await api.createEntity(entity);
    await api.waitUntilLive(entity.name, DEADLINE_MS);

    const stop = new AbortController();
    const writing = write(collection, stop.signal);
    const endAt = performance.now() + WRITING_MS;
    await eventually(
      () => performance.now() > endAt / 2 + (endAt - WRITING_MS) / 2,
      DEADLINE_MS,
      "half of the time is over",
    );
    // The collection is replaced under its name: its entity is copied anew, beside the writes.
    await client
      .db("app")
      .collection("next")
      .insertMany(
        await collection
          .find()
          .limit(DOCUMENTS / 2)
          .toArray(),
      );
    await client.db("app").renameCollection("next", "moments", { dropTarget: true });
    await eventually(() => performance.now() > endAt, DEADLINE_MS, "the time is over");
    stop.abort();
    const written = await writing;
    await collection.insertOne({ _id: "fence" as never, seq: new Int32(GENERATION) });
    await eventually(
      () => {
        const database = openCache(join(emcache.cacheFolder, "moments.db"));
        try {
          return database.prepare("SELECT 1 FROM data WHERE id = 'fence'").get() !== undefined;
        } finally {
          database.close();
        }
      },
      DEADLINE_MS,
      "all of it is in the cache",
    );

    const snapshots = await api.call<{ position: number; cluster_time_s: number | null }[]>(
      "GET",
      "/api/snapshots?entity=moments",
    );
    const first = snapshots.at(-1)?.position ?? 0;
    const { position: head } = await api.call<{ position: number }>("GET", "/api/entities/moments");
    console.log(`${written} writes, ${snapshots.length} snapshots, positions ${first} to ${head}`);
    expect(snapshots.length).toBeGreaterThan(2);

    const random = new SeededRandom(7);
    const positions = Array.from({ length: POINTS }, () => first + Math.floor(random.next() * (head - first + 1)));
    const replay = await LogReplay.read(api, entity.name);
    for (const position of positions.sort((a, b) => a - b)) {
      const { headers, table } = await fetchTable(`position=${position}`);
      expect(headers.get("emcache-position")).toBe(String(position));
      expectEqual(table, replay.tableAt(position), `at ${position}`);
    }
    await expectTimes(snapshots, head);
  },
  DEADLINE_MS,
);

/** Steady writes of all kinds; how many there were. */
async function write(collection: Collection, signal: AbortSignal): Promise<number> {
  const random = new SeededRandom(3);
  const begin = performance.now();
  let count = 0;
  let seq = 1;
  while (!signal.aborted) {
    const due = Math.floor(((performance.now() - begin) / 1_000) * WRITES_PER_S) - count;
    if (due < 20) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      continue;
    }
    const operations = Array.from({ length: Math.min(due, 500) }, () => {
      const filter = { _id: Math.floor(random.next() * DOCUMENTS * 2) as never };
      if (random.next() < 0.1) return { deleteOne: { filter } };
      const fields = { seq: new Int32(GENERATION + seq++), score: new Double(random.next()), counter: new Long(seq) };
      return { updateOne: { filter, update: { $set: fields }, upsert: true } };
    });
    await collection.bulkWrite(operations, { ordered: true });
    count += operations.length;
  }
  return count;
}

/** Each second's state is that of the last batch that is not later: a later second never shows an earlier position. */
async function expectTimes(
  snapshots: readonly { readonly cluster_time_s: number | null }[],
  head: number,
): Promise<void> {
  const times = snapshots.flatMap(({ cluster_time_s: timeS }) => timeS ?? []).sort((a, b) => a - b);
  const fromS = (times[0] ?? 0) + 1;
  const throughS = times.at(-1) ?? 0;
  const replay = await LogReplay.read(api, entity.name);
  let last = 0;
  for (const timeS of [fromS, Math.floor((fromS + throughS) / 2), throughS]) {
    const { headers, table } = await fetchTable(`time=${new Date(timeS * 1_000).toISOString()}`);
    const position = Number(headers.get("emcache-position"));
    expect(position).toBeGreaterThanOrEqual(last);
    expect(position).toBeLessThanOrEqual(head);
    last = position;
    expectEqual(table, replay.tableAt(position), `at second ${timeS}`);
  }
  const future = await api.request("GET", `/api/snapshots/moments?time=${throughS + 10_000}`);
  expect(future).toMatchObject({ status: 410, body: { code: "point_unreachable", through_time: expect.any(String) } });
}

async function fetchTable(query: string): Promise<{ headers: Headers; table: ReadonlyMap<string, unknown> }> {
  const response = await fetch(`${emcache.address}/api/snapshots/moments?${query}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${query}: ${bytes.toString()}`);
  expect(createHash("sha256").update(bytes).digest("hex")).toBe(response.headers.get("emcache-sha256"));
  const path = join(folder, "restored.db");
  writeFileSync(path, bytes);
  const database = openCache(path);
  try {
    const rows = database.prepare<[], [string, unknown]>("SELECT id, seq FROM moments").raw().all();
    return { headers: response.headers, table: new Map(rows) };
  } finally {
    database.close();
  }
}

function expectEqual(found: ReadonlyMap<string, unknown>, expected: ReadonlyMap<string, unknown>, where: string): void {
  const differing = [...expected].filter(([id, seq]) => Number(found.get(id)) !== Number(seq));
  expect([found.size, differing.slice(0, 5)], where).toEqual([expected.size, []]);
}
