import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Int32 } from "mongodb";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EmcacheApi, type EntityRequest } from "./support/emcache-api.ts";
import { EmcacheProcess } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { checkHistory } from "./support/history-check.ts";
import { compareCache, expectedTable, openCache, readMetadata } from "./support/oracle.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { type TestMongo, startTestMongo } from "./support/test-mongo.ts";
import { type TestPostgres, startTestPostgres } from "./support/test-postgres.ts";
import { GENERATION, Workload, workloadEntity } from "./support/workload.ts";

/** A standby must notice within seconds that the holder is frozen; this leaves room for a busy machine. */
const TAKEOVER_DEADLINE_MS = 30_000;

/** Documents of half a MiB that wait while the log does not move: many times of what may be held. */
const HEAVY_DOCUMENTS = 600;

/**
 * The heap's limit in that test. Node lets garbage lie while there is room (up to gigabytes here), so without a limit
 * resident memory tells more of the collector's mood than of what is held (measured with one and the same program:
 * 263 and 354 MiB above rest). With it, whoever holds what waits runs out of memory.
 */
const HEAP_MEBIBYTES_MAX = 200;

/** What may be resident above the resting process: the heap's limit, and buffers outside of it. */
const HEAVY_MEBIBYTES_MAX = 220;

const root = useTestFolder("writers");
let mongo: TestMongo;
let postgres: TestPostgres;

beforeAll(async () => {
  [mongo, postgres] = await Promise.all([startTestMongo({ folder: root, syncOnCommit: false }), startTestPostgres()]);
});

afterAll(async () => {
  await mongo.stop();
  await postgres.stop();
});

const running: EmcacheProcess[] = [];

afterEach(async () => {
  for (const one of running.splice(0)) {
    one.process.signalGroup("SIGCONT");
    await one.dispose();
  }
});

interface ProcessOptions {
  readonly postgresUri: string;
  readonly sources?: Record<string, string>;
  readonly settings?: Record<string, string | number>;
  readonly environment?: Record<string, string>;
}

/** One more EMCache on a shared PostgreSQL; sources are databases of the one server, by name. */
async function startProcess(
  name: string,
  { postgresUri, sources, settings, environment }: ProcessOptions,
): Promise<EmcacheProcess> {
  const folder = join(root, name);
  mkdirSync(folder);
  const databases = sources ?? { main: mongo.databaseName };
  const emcache = await EmcacheProcess.start({
    folder,
    postgresUri,
    sources: Object.fromEntries(
      Object.entries(databases).map(([source, database]) => [source, { uri: mongo.uri, database }]),
    ),
    settings: { "snapshot.min_lag": 1_000_000_000, "cache.entity_refresh_interval": 1, ...settings },
    ...(environment === undefined ? {} : { environment }),
  });
  running.push(emcache);
  return emcache;
}

function apiOf(emcache: EmcacheProcess): EmcacheApi {
  return new EmcacheApi(() => emcache.address);
}

/** Waits until a document that is written now is in the caches of all these processes, and compares each. */
async function expectEqual(
  entity: EntityRequest,
  fence: string,
  processes: readonly EmcacheProcess[],
  deadlineMs: number,
): Promise<void> {
  const collection = mongo.database.collection(entity.source);
  await collection.insertOne({ _id: fence as never, seq: new Int32(GENERATION) });
  for (const emcache of processes) {
    const file = join(emcache.cacheFolder, `${entity.name}.db`);
    await eventually(
      () => {
        const database = openCache(file);
        const isThere = database.prepare("SELECT 1 FROM data WHERE id = ?").get(fence) !== undefined;
        const { mode } = readMetadata(database);
        database.close();
        return isThere && mode === "live";
      },
      deadlineMs,
      () => `${fence} is in ${file}`,
    );
  }
  const expected = await expectedTable(collection, entity);
  for (const emcache of processes) {
    const comparison = compareCache(join(emcache.cacheFolder, `${entity.name}.db`), entity, expected);
    expect(comparison.isEqual, comparison.report).toBe(true);
  }
}

interface BatchAnswer {
  readonly entries: readonly { readonly id: number; readonly doc_id: string }[];
  readonly position: number;
  readonly head: number;
  readonly has_more: boolean;
}

describe("two processes that write at once", () => {
  test("invariant 2: commit-order positions: a reader of the tail never misses a row, and a hole is an error", async () => {
    const postgresUri = await postgres.newDatabase();
    const other = `${mongo.databaseName}_other`;
    const first = await startProcess("order-1", { postgresUri, sources: { one: mongo.databaseName } });
    const second = await startProcess("order-2", { postgresUri, sources: { two: other } });
    const entities = [
      workloadEntity("order_one", "order_one", "one"),
      workloadEntity("order_two", "order_two", "two"),
    ] as const;
    await apiOf(first).createEntity(entities[0]);
    await apiOf(second).createEntity(entities[1]);
    const reader = apiOf(first);
    await reader.waitUntilLive("order_one", 30_000);
    await eventually(() => reader.entity("order_two"), 20_000, "the other process's entity is known here");
    await reader.waitUntilLive("order_two", 30_000);

    const workloads = [
      new Workload(mongo.database.collection("order_one"), { seed: 31, bulkSize: 30 }),
      new Workload(mongo.client.db(other).collection("order_two"), { seed: 32, bulkSize: 30 }),
    ];
    const writing = Promise.all(workloads.map((workload) => workload.write("mixed", 3_000)));
    const progress = { isWriting: true };
    void writing.finally(() => {
      progress.isWriting = false;
    });
    const tail: number[] = [];
    const readPage = async (after: number): Promise<BatchAnswer> =>
      reader.call("POST", "/api/oplogs/batch", { entities: ["order_one", "order_two"], limit: 1_000, after });
    let position = 0;
    while (progress.isWriting) {
      const page = await readPage(position);
      tail.push(...page.entries.map((entry) => entry.id));
      position = page.position;
    }
    await writing;
    await mongo.client
      .db(other)
      .collection("order_two")
      .insertOne({ _id: "last" as never, seq: new Int32(1) });
    await mongo.database.collection("order_one").insertOne({ _id: "last" as never, seq: new Int32(1) });
    const ends = new Set<string>();
    await eventually(
      async () => {
        const page = await readPage(position);
        tail.push(...page.entries.map((entry) => entry.id));
        position = page.position;
        for (const entry of page.entries) if (entry.doc_id === "last") ends.add(String(entry.id));
        return ends.size === 2;
      },
      30_000,
      "both sources' last documents are in the log",
    );

    const all: number[] = [];
    for (let after = 0, hasMore = true; hasMore;) {
      const page = await readPage(after);
      all.push(...page.entries.map((entry) => entry.id));
      after = page.position;
      hasMore = page.has_more;
    }
    expect(tail).toEqual(all);
    expect(all).toEqual(Array.from({ length: all.length }, (_, index) => index + 1));
    await writing;

    await runSql(
      postgresUri,
      "DELETE FROM emcache.batch WHERE first_position = (SELECT max(first_position) FROM emcache.batch WHERE first_position < $1)",
      [Math.floor(all.length / 2)],
    );
    let last: unknown = null;
    for (let after = 0, hasMore = true; hasMore && last === null;) {
      const answer = await reader.request("POST", "/api/oplogs/batch", {
        entities: ["order_one", "order_two"],
        limit: 1_000,
        after,
      });
      if (answer.status !== 200) last = answer.body;
      else ({ position: after, has_more: hasMore } = answer.body as BatchAnswer);
    }
    expect(last).toMatchObject({ code: "oplog_hole" });
  });

  test("invariant 3: one writer: a frozen holder is taken over within seconds and can't append when it wakes", async () => {
    const postgresUri = await postgres.newDatabase();
    const first = await startProcess("writer-1", { postgresUri });
    const entity = workloadEntity("leased", "leased");
    const collection = mongo.database.collection("leased");
    const workload = new Workload(collection, { seed: 33, bulkSize: 60 });
    await workload.write("insert", 1_000);
    await apiOf(first).createEntity(entity);
    await apiOf(first).waitUntilLive("leased", 30_000);
    const second = await startProcess("writer-2", { postgresUri });
    await eventually(() => apiOf(second).waitUntilLive("leased", 1_000), 30_000, "the second process knows the entity");
    const epochs = [await epochOf(postgresUri)];

    for (let round = 1; round <= 4; round += 1) {
      const [holder, standby] = round % 2 === 1 ? [first, second] : [second, first];
      const stop = new AbortController();
      const writing = workload.writeUntil(stop.signal);
      const rowsBefore = (await apiOf(standby).entity("leased")).position ?? 0;
      // In the middle of the work: the log has just grown.
      await eventually(
        async () => ((await apiOf(standby).entity("leased")).position ?? 0) > rowsBefore + 20 * round,
        20_000,
        "the log grows",
      );
      holder.process.signal("SIGSTOP");
      const begin = performance.now();
      await eventually(
        async () => (await epochOf(postgresUri)) > (epochs.at(-1) ?? 0),
        TAKEOVER_DEADLINE_MS,
        "the standby takes the source over",
      );
      console.log(`writers: round ${round}: taken over ${Math.round(performance.now() - begin)} ms after the freeze`);
      epochs.push(await epochOf(postgresUri));
      const positionThen = (await apiOf(standby).entity("leased")).position ?? 0;
      await eventually(
        async () => ((await apiOf(standby).entity("leased")).position ?? 0) > positionThen,
        TAKEOVER_DEADLINE_MS,
        "the standby appends while the holder is frozen",
      );
      holder.process.signal("SIGCONT");
      stop.abort();
      await writing;
      await expectEqual(entity, `fence-${round}`, [first, second], 30_000);
      const history = await checkHistory(apiOf(standby), "leased", { isGapless: true });
      expect(history.violations).toEqual([]);
    }
  });
});

describe("memory", () => {
  test("invariant 10: memory is bounded while the log does not move", async () => {
    const postgresUri = await postgres.newDatabase();
    const emcache = await startProcess("memory", {
      postgresUri,
      settings: { "memory.capture_bytes_max": 16 * 1_048_576 },
      environment: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MEBIBYTES_MAX}` },
    });
    const entity: EntityRequest = {
      name: "heavy",
      client: "main",
      source: "heavy",
      shape: {
        id_column: { path: "$._id", type: "string" },
        columns: [{ name: "payload", type: "string", path: "$.payload" }],
        indexes: [],
      },
    };
    const collection = mongo.database.collection("heavy");
    await apiOf(emcache).createEntity(entity);
    await apiOf(emcache).waitUntilLive("heavy", 30_000);
    const payload = "0123456789abcdef".repeat(32_768);
    const insert = async (from: number, count: number): Promise<void> => {
      for (let index = from; index < from + count; index += 8) {
        await collection.insertMany(
          Array.from({ length: 8 }, (_, offset) => ({ _id: index + offset, payload })) as never[],
        );
      }
    };
    // What any process of this kind needs to have such rows pass through it.
    await insert(0, 64);
    await expectEqual(entity, "warm", [emcache], 60_000);
    const pid = emcache.process.pid;
    resetPeak(pid);
    const before = memoryKiB(pid, "VmRSS");

    const lock = new pg.Client({ connectionString: postgresUri });
    await lock.connect();
    try {
      // Nobody can append; the source goes on, with many times of what may be held.
      await lock.query("BEGIN; LOCK TABLE emcache.head IN ACCESS EXCLUSIVE MODE");
      await insert(64, HEAVY_DOCUMENTS);
      const peak = memoryKiB(pid, "VmHWM");
      console.log(
        `writers: ${HEAVY_DOCUMENTS / 2} MiB waited for the log; resident ${mebibytes(before)} before, ${mebibytes(peak)} at most meanwhile`,
      );
      expect(peak - before).toBeLessThan(HEAVY_MEBIBYTES_MAX * 1_024);
      await lock.query("ROLLBACK");
    } finally {
      await lock.end();
    }
    await expectEqual(entity, "after", [emcache], 90_000);
    const peak = memoryKiB(pid, "VmHWM");
    expect(emcache.isRunning).toBe(true);
    console.log(`writers: resident at most ${mebibytes(peak)} until all of it had arrived`);
    expect(peak - before).toBeLessThan(HEAVY_MEBIBYTES_MAX * 1_024);
  });
});

describe("a log that was restored from a backup", () => {
  test("invariant 11: one history: caches of a history that is no more are rebuilt, its readers are refused", async () => {
    const original = await postgres.newDatabase();
    const emcache = await startProcess("history", { postgresUri: original });
    const entity = workloadEntity("restored", "restored");
    const workload = new Workload(mongo.database.collection("restored"), { seed: 35 });
    await workload.write("insert", 500);
    await apiOf(emcache).createEntity(entity);
    await apiOf(emcache).waitUntilLive("restored", 30_000);
    await expectEqual(entity, "before-backup", [emcache], 20_000);
    await emcache.stop();
    const backup = `${new URL(original).pathname.slice(1)}_backup`;
    await runSql(postgres.uri, `CREATE DATABASE ${backup} TEMPLATE ${new URL(original).pathname.slice(1)}`);

    await emcache.restart();
    await workload.write("mixed", 800);
    await expectEqual(entity, "after-backup", [emcache], 20_000);
    const reader = await apiOf(emcache).call<{ position: number; tag: string; log_id: string }>(
      "GET",
      "/api/oplogs/restored?limit=10000&after=600",
    );
    await emcache.stop();

    const restored = new URL(original);
    restored.pathname = `/${backup}`;
    writeFileSync(emcache.configFile, readFileSync(emcache.configFile, "utf8").replace(original, restored.href));
    await emcache.restart();
    await workload.write("mixed", 300);
    await expectEqual(entity, "after-restore", [emcache], 40_000);
    const refused = await apiOf(emcache).request(
      "GET",
      `/api/oplogs/restored?limit=10&after=${reader.position}&tag=${encodeURIComponent(reader.tag)}&log_id=${reader.log_id}`,
    );
    expect(refused).toMatchObject({ status: 409, body: { code: "history_mismatch" } });
    const history = await checkHistory(apiOf(emcache), "restored", { isGapless: true });
    expect(history.violations).toEqual([]);
    await emcache.stop();
    await runSql(postgres.uri, `DROP DATABASE ${backup}`);
  });
});

async function epochOf(postgresUri: string): Promise<number> {
  const rows = await runSql(postgresUri, "SELECT epoch FROM emcache.source_lease WHERE source = 'main'");
  return Number(rows[0]?.["epoch"]);
}

async function runSql(uri: string, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** A line of /proc/PID/status, in KiB. */
function memoryKiB(pid: number, key: "VmRSS" | "VmHWM"): number {
  const line = new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]);
}

/** Makes the peak begin anew (Linux: proc(5), clear_refs). */
function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

function mebibytes(kib: number): string {
  return `${Math.round(kib / 1_024)} MiB`;
}
