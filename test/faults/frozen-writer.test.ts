import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { ProxyAction, TcpProxy } from "../../packages/server/src/oplog/testing/tcp-proxy.ts";
import { EmcacheApi, type EntityRequest } from "../support/emcache-api.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { reportFault } from "../support/fault-report.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { checkHistory } from "../support/history-check.ts";
import { compareCache, expectedTable, openCache } from "../support/oracle.ts";
import { type TestMongo, startTestMongo } from "../support/test-mongo.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { GENERATION, Workload, workloadEntity } from "../support/workload.ts";

/** A standby notices within seconds; this leaves room for a busy machine. */
const DEADLINE_MS = 60_000;

/** Processes on one PostgreSQL. */
const PROCESSES = faultRepeats({ short: 3, full: 10 });

const root = useTestFolder("frozen-writer");
let mongo: TestMongo;
let postgres: FaultyPostgres;
const running: EmcacheProcess[] = [];
const proxies: TcpProxy[] = [];

beforeAll(async () => {
  [mongo, postgres] = await Promise.all([
    startTestMongo({ folder: root, syncOnCommit: false }),
    FaultyPostgres.start(join(root, "postgres-server")),
  ]);
});

afterEach(async () => {
  for (const one of running.splice(0)) {
    one.process.signalGroup("SIGCONT");
    await one.dispose();
  }
  for (const proxy of proxies.splice(0)) await proxy.stop();
  await postgres.query("DROP SCHEMA IF EXISTS emcache CASCADE");
});

afterAll(async () => {
  await mongo.stop();
  await postgres.dispose();
});

/** One more EMCache, with a way to PostgreSQL of its own. */
async function startProcess(name: string, databases: Record<string, string>): Promise<[EmcacheProcess, TcpProxy]> {
  const folder = join(root, name);
  mkdirSync(folder);
  const proxy = await postgres.newProxy();
  proxies.push(proxy);
  const emcache = await EmcacheProcess.start({
    folder,
    postgresUri: proxy.uri,
    sources: Object.fromEntries(
      Object.entries(databases).map(([source, database]) => [source, { uri: mongo.uri, database }]),
    ),
    settings: {
      "snapshot.min_lag": 1_000_000_000,
      "cache.entity_refresh_interval": 1,
      // Ten processes share two cores and one server.
      "database.postgres.min_connections": 1,
      "database.postgres.max_connections": 6,
    },
  });
  running.push(emcache);
  return [emcache, proxy];
}

function apiOf(emcache: EmcacheProcess): EmcacheApi {
  return new EmcacheApi(() => emcache.address);
}

async function leaseOf(source: string): Promise<{ epoch: number; holder: string }> {
  const [row] = await postgres.query<{ epoch: string; holder: string }>(
    "SELECT epoch, holder FROM emcache.source_lease WHERE source = $1",
    [source],
  );
  return { epoch: Number(row?.epoch ?? 0), holder: row?.holder ?? "" };
}

/** The holder's `application_name` holds its process id. */
function isHeldBy(holder: string, emcache: EmcacheProcess): boolean {
  return holder.split(" ").includes(String(emcache.process.pid));
}

/** Rows that were appended under an epoch after a later epoch had begun. */
async function rowsOfOldEpochs(): Promise<number> {
  const [row] = await postgres.query<{ n: string }>(`
    SELECT coalesce(sum(o.row_count), 0) AS n FROM emcache.batch o WHERE EXISTS (
      SELECT 1 FROM emcache.batch n
        WHERE n.source = o.source AND n.epoch > o.epoch AND n.first_position < o.first_position)`);
  return Number(row?.n);
}

/** Waits until a document that is written now is in the caches of all these processes, and compares each. */
async function expectEqual(entity: EntityRequest, database: string, fence: string, all: readonly EmcacheProcess[]) {
  const collection = mongo.client.db(database).collection(entity.source);
  await collection.insertOne({ _id: fence as never, seq: GENERATION });
  const expected = await expectedTable(collection, entity);
  for (const emcache of all) {
    const file = join(emcache.cacheFolder, `${entity.name}.db`);
    await eventually(
      () => {
        const cache = openCache(file);
        try {
          return cache.prepare("SELECT 1 FROM data WHERE id = ?").get(fence) !== undefined;
        } finally {
          cache.close();
        }
      },
      DEADLINE_MS,
      () => `${fence} is in ${file}; the log ends: ${emcache.logs().slice(-600)}`,
    );
    const comparison = compareCache(file, entity, expected);
    expect(comparison.isEqual, comparison.report).toBe(true);
  }
}

/** Where an append is frozen: the first message that shows it, and whether that message still arrives meanwhile. */
interface Step {
  readonly name: string;
  readonly is: (piece: Buffer) => boolean;
  readonly action: ProxyAction;
}

const has = (text: string) => (piece: Buffer) => piece.includes(text);

const STEPS: readonly Step[] = [
  { name: "before it takes a batch id for a COPY", is: has("SELECT nextval('emcache.batch_id')"), action: "pause" },
  { name: "when it has begun the COPY", is: has("COPY emcache.oplog"), action: "forward" },
  {
    name: "in mid-COPY",
    // CopyData ("d"), not the statement.
    is: (piece) => piece[0] === 0x64 && !piece.includes("COPY emcache.oplog"),
    action: "pause",
  },
  { name: "with its rows there and the seal on its way", is: has("emcache.seal("), action: "pause" },
  { name: "when the seal has arrived and nobody read the answer", is: has("emcache.seal("), action: "forward" },
  { name: "as it renews its lease", is: has("SET beat = beat + 1"), action: "pause" },
];

test("fault 23: the writer frozen (SIGSTOP) at each step of an append, another promoted, then thawed", async () => {
  const entity = workloadEntity("frozen", "frozen");
  const collection = mongo.database.collection("frozen");
  const workload = new Workload(collection, { seed: 23, clients: 2, bulkSize: 200 });
  await workload.write("insert", 500);
  const databases = { main: mongo.databaseName };
  const pair = [await startProcess("step-1", databases), await startProcess("step-2", databases)] as const;
  await apiOf(pair[0][0]).createEntity(entity);
  for (const [emcache] of pair) {
    await eventually(() => apiOf(emcache).waitUntilLive("frozen", 1_000), DEADLINE_MS, "both serve the entity");
  }
  for (const [index, step] of STEPS.entries()) {
    const before = await leaseOf("main");
    const [holder, standby] = isHeldBy(before.holder, pair[0][0]) ? pair : ([pair[1], pair[0]] as const);
    const stop = new AbortController();
    const writing = workload.writeUntil(stop.signal);
    await freezeAt(step, holder[0], holder[1]);
    const frozenAtMs = performance.now();
    const after = await eventually(
      async () => {
        const now = await leaseOf("main");
        return now.epoch > before.epoch ? now : null;
      },
      DEADLINE_MS,
      `${step.name}: the standby takes over`,
    );
    console.log(
      `frozen-writer: ${step.name}: taken over ${Math.round(performance.now() - frozenAtMs)} ms after the freeze`,
    );
    expect(isHeldBy(after.holder, standby[0])).toBe(true);
    // The new holder appends while the old one is still frozen.
    await eventually(
      async () =>
        (await postgres.query("SELECT 1 FROM emcache.batch WHERE epoch = $1 LIMIT 1", [after.epoch])).length > 0,
      DEADLINE_MS,
      `${step.name}: the new holder appends`,
    );
    holder[1].decide = () => "forward";
    holder[1].deliverHeld();
    holder[0].process.signal("SIGCONT");
    stop.abort();
    await writing;
    await expectEqual(entity, mongo.databaseName, `step-${index}`, [pair[0][0], pair[1][0]]);
    expect(await rowsOfOldEpochs(), step.name).toBe(0);
  }
  const history = await checkHistory(apiOf(pair[0][0]), "frozen", { isGapless: true });
  expect(history.violations).toEqual([]);
  reportFault({
    fault: 23,
    title: "The writer frozen past its lease",
    source: "SecantusDB",
    injected: STEPS.length,
    lost: 0,
    skipped: null,
  });
}, 600_000);

/** Stops the process when it sends the message of the step. */
async function freezeAt(step: Step, emcache: EmcacheProcess, proxy: TcpProxy): Promise<void> {
  const frozen = Promise.withResolvers<void>();
  let isArmed = true;
  proxy.decide = (piece) => {
    if (!isArmed || !step.is(piece)) return "forward";
    isArmed = false;
    emcache.process.signal("SIGSTOP");
    frozen.resolve();
    return step.action;
  };
  await eventually(() => !isArmed, DEADLINE_MS, `an append is ${step.name}`);
  await frozen.promise;
}

test("fault 23: several processes on one PostgreSQL: each source has one writer, and all caches are equal", async () => {
  const databases = { main: mongo.databaseName, other: `${mongo.databaseName}_other` };
  const entities = [workloadEntity("many_main", "many"), workloadEntity("many_other", "many", "other")] as const;
  const workloads = Object.values(databases).map(
    (database, index) => new Workload(mongo.client.db(database).collection("many"), { seed: index, bulkSize: 60 }),
  );
  for (const workload of workloads) await workload.write("insert", 500);
  console.log(`frozen-writer: ${PROCESSES} processes`);
  const all: EmcacheProcess[] = [];
  for (let number = 1; number <= PROCESSES; number += 1) {
    all.push((await startProcess(`many-${number}`, databases))[0]);
  }
  const [first] = all;
  if (first === undefined) throw new Error("there is no process");
  for (const entity of entities) await apiOf(first).createEntity(entity);
  const compareAll = async (fence: string, processes: readonly EmcacheProcess[]): Promise<void> => {
    for (const [index, database] of Object.values(databases).entries()) {
      await expectEqual(entities[index] as EntityRequest, database, `${fence}-${index}`, processes);
    }
    expect(await rowsOfOldEpochs()).toBe(0);
  };
  await Promise.all(workloads.map((workload) => workload.write("mixed", 1_000)));
  await compareAll("all", all);

  for (const [way, end] of [
    ["SIGKILL", (one: EmcacheProcess) => one.kill()],
    ["SIGTERM", (one: EmcacheProcess) => one.stop()],
  ] as const) {
    const before = await leaseOf("main");
    const holder = all.find((one) => one.isRunning && isHeldBy(before.holder, one));
    if (holder === undefined) throw new Error(`nobody of ours holds the lease: ${before.holder}`);
    const stop = new AbortController();
    const writing = Promise.all(workloads.map((workload) => workload.writeUntil(stop.signal)));
    const ending = end(holder);
    if (way === "SIGTERM")
      await eventually(
        async () => (await isReleased()) || (await leaseOf("main")).epoch > before.epoch,
        DEADLINE_MS,
        "it lets go",
      );
    const endedAtMs = performance.now();
    await eventually(
      async () => (await leaseOf("main")).epoch > before.epoch,
      DEADLINE_MS,
      `after ${way} of the writer another takes over`,
    );
    console.log(
      `frozen-writer: taken over ${Math.round(performance.now() - endedAtMs)} ms after ${way === "SIGKILL" ? "SIGKILL" : "a clean stop let go"}`,
    );
    await ending;
    stop.abort();
    await writing;
    await compareAll(
      way,
      all.filter((one) => one.isRunning),
    );
  }
}, 600_000);

async function isReleased(): Promise<boolean> {
  const [row] = await postgres.query<{ released: boolean }>(
    "SELECT released FROM emcache.source_lease WHERE source = 'main'",
  );
  return row?.released === true;
}
