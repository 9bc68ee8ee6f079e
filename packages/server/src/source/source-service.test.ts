import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { DevMongo } from "@emcache/dev-mongo";
import type { Entity } from "@emcache/protocol";
import { type Db, MongoClient } from "mongodb";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { SecantusServer } from "../../../../test/support/secantus.ts";
import { ByteBudget } from "../runtime/byte-budget.ts";
import { ComponentHealth } from "../runtime/component-health.ts";
import { clusterTimeOf } from "./cluster-time.ts";
import { SourceService } from "./source-service.ts";
import { MemoryCaptureLog } from "./testing/memory-capture-log.ts";

const DEADLINE_MS = 30_000;
const logger = pino({ level: process.env["EMCACHE_TEST_LOG"] ?? "silent" });

/** The servers that the capture is shown: one that is not ours, and the development server. */
const SERVERS = {
  SecantusDB: async () => SecantusServer.start({ folder: await mkdtemp(join(tmpdir(), "emcache-source-")) }),
  "dev-mongo": async () => DevMongo.start(),
} as const;

let server: { readonly uri: string; stop(): Promise<void> };
let client: MongoClient;
let db: Db;
let databaseNumber = 0;

function entityOf(id: number, collection: string): Entity {
  return {
    id,
    name: `${collection}_${id}`,
    client: "main",
    source: collection,
    created_at: "2026-01-01T00:00:00Z",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [{ name: "seq", type: "integer", path: "$.seq" }],
      indexes: [],
    },
  };
}

/** A capture of the test's database into a log in memory. */
class Capture {
  readonly log: MemoryCaptureLog;
  readonly health = new ComponentHealth("source.main");
  readonly service: SourceService;
  /** Versions that caches ask to be copied again. */
  requested: number[] = [];
  #entities: readonly Entity[];
  #changed: () => void = () => undefined;

  constructor(entities: readonly Entity[], log = new MemoryCaptureLog(), rowsPerSMax = 0) {
    this.log = log;
    this.#entities = entities;
    this.service = new SourceService({
      mongo: { sourceName: "main", uri: server.uri, database: db.databaseName, fullDocument: "lookup" },
      takeTurn: async () => ({ log, lost: new AbortController().signal, release: async () => undefined }),
      entities: {
        list: () => this.#entities,
        onChange: (listener) => {
          this.#changed = listener;
          return () => undefined;
        },
      },
      copyRequests: { list: async () => this.requested },
      budget: new ByteBudget({ bytesMax: 64 << 20, reservedBytes: 16 << 20 }),
      copySettings: { maxConcurrent: 2, rowsPerSMax },
      health: this.health,
      logger,
    });
  }

  setEntities(entities: readonly Entity[]): void {
    this.#entities = entities;
    this.#changed();
  }

  async stop(): Promise<void> {
    await this.service.stop(AbortSignal.timeout(5_000));
  }
}

const captures: Capture[] = [];
async function startCapture(...args: ConstructorParameters<typeof Capture>): Promise<Capture> {
  const capture = new Capture(...args);
  captures.push(capture);
  await capture.service.start();
  return capture;
}
afterEach(async () => {
  await Promise.all(captures.splice(0).map((capture) => capture.stop()));
});

async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await wait(5);
  }
}

async function sourceTable(collection: string): Promise<Map<string, string>> {
  const documents = await db.collection<{ _id: number; seq: number }>(collection).find().toArray();
  return new Map(documents.map(({ _id, seq }) => [String(_id), `[${seq}]`]));
}

function equalTables(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

async function caughtUp(capture: Capture, version: number, collection: string): Promise<void> {
  await eventually("the log shows the source", async () => {
    if (capture.log.copies.get(version)?.state !== "done") return false;
    return equalTables(capture.log.table(version), await sourceTable(collection));
  });
}

/** `seq` only grows in these tests: a row with a smaller one shows a document going back in time. */
function assertForwardOnly(log: MemoryCaptureLog, version: number): void {
  const newest = new Map<string, number>();
  for (const row of log.rows) {
    if (row.version !== version || row.data === null) continue;
    const [seq] = JSON.parse(row.data) as [number];
    expect(seq, `document ${row.docId}`).toBeGreaterThanOrEqual(newest.get(row.docId) ?? 0);
    newest.set(row.docId, seq);
  }
}

async function insertMany(collection: string, from: number, to: number, seq = 1): Promise<void> {
  const documents = Array.from({ length: to - from }, (_, index) => ({ _id: from + index, seq }));
  await db.collection<{ _id: number; seq: number }>(collection).insertMany(documents);
}

describe.each(Object.entries(SERVERS))("a source's capture of %s", (_name, start) => {
  beforeAll(async () => {
    server = await start();
    client = await MongoClient.connect(server.uri);
  }, 120_000);

  afterAll(async () => {
    await client.close();
    await server.stop();
  });

  beforeEach(() => {
    db = client.db(`capture_${process.pid}_${++databaseNumber}`);
  });

  test("copies what is there and follows inserts, updates, replaces and deletes", async () => {
    await insertMany("a", 0, 500);
    const capture = await startCapture([entityOf(1, "a")]);
    await caughtUp(capture, 1, "a");
    const a = db.collection<{ _id: number; seq: number }>("a");
    await insertMany("a", 500, 600);
    await a.updateMany({ _id: { $lt: 100 } }, { $set: { seq: 2 } });
    await a.replaceOne({ _id: 3 }, { seq: 9 });
    await a.deleteMany({ _id: { $gte: 450 } });
    await caughtUp(capture, 1, "a");
    expect(
      capture.log.rows.filter(({ operation }) => operation.startsWith("sync")).map(({ operation }) => operation),
    ).toEqual(["sync_start", "sync_end"]);
    assertForwardOnly(capture.log, 1);
  });

  test("invariant 4: linear history per document, while a copy runs beside writes", async () => {
    await insertMany("a", 0, 6_000);
    const capture = await startCapture([entityOf(1, "a")], new MemoryCaptureLog(), 4_000);
    const a = db.collection<{ _id: number; seq: number }>("a");
    let seq = 1;
    let next = 6_000;
    const isDone = (): boolean => capture.log.copies.get(1)?.state === "done";
    await eventually("the copy begins", () => capture.log.copies.get(1) !== undefined);
    while (!isDone()) {
      seq++;
      const id = (seq * 7919) % 6_000;
      await a.updateMany({ _id: { $in: [id, id + 1, (id * 31) % 6_000] } }, { $set: { seq } });
      await a.deleteOne({ _id: (id * 17) % 6_000 });
      // Deleted and inserted again, in one burst with an update: the looked-up state is newer than each event.
      await a.deleteOne({ _id: id });
      await a.insertOne({ _id: id, seq: ++seq });
      await a.updateOne({ _id: id }, { $set: { seq: ++seq } });
      await a.insertOne({ _id: next++, seq });
    }
    await caughtUp(capture, 1, "a");
    assertForwardOnly(capture.log, 1);
  });

  test("an entity that joins later misses nothing of a collection that was not watched", async () => {
    await insertMany("a", 0, 10);
    await insertMany("b", 0, 3_000);
    const capture = await startCapture([entityOf(1, "a")]);
    await caughtUp(capture, 1, "a");
    const writing = (async () => {
      for (let id = 3_000; id < 3_200; id++) await insertMany("b", id, id + 1);
    })();
    capture.setEntities([entityOf(1, "a"), entityOf(2, "b")]);
    await writing;
    await caughtUp(capture, 2, "b");
    await insertMany("a", 10, 20);
    await caughtUp(capture, 1, "a");
  });

  test("goes on from its checkpoint after a stop in mid-copy, reading at most the chunks in flight again", async () => {
    await insertMany("a", 0, 9_000);
    const log = new MemoryCaptureLog();
    const first = await startCapture([entityOf(1, "a")], log, 5_000);
    await eventually("a part is copied", () => (log.copies.get(1)?.rowCount ?? 0) >= 2_000);
    await first.stop();
    expect(log.copies.get(1)?.state).toBe("running");
    await db.collection<{ _id: number }>("a").deleteOne({ _id: 5 });
    await db.collection<{ _id: number }>("a").updateOne({ _id: 6 }, { $set: { seq: 2 } });
    await insertMany("a", 9_000, 9_010);
    const second = await startCapture([entityOf(1, "a")], log);
    await caughtUp(second, 1, "a");
    expect(log.copies.get(1)?.rowCount).toBe(9_009 + 1);
    expect(log.rows.filter(({ operation }) => operation === "sync_start")).toHaveLength(1);
    assertForwardOnly(log, 1);
  });

  test("invariant 1: log before checkpoint; a failed append is repeated before anything later", async () => {
    await insertMany("a", 0, 100);
    const log = new MemoryCaptureLog();
    const capture = await startCapture([entityOf(1, "a")], log);
    await caughtUp(capture, 1, "a");
    const { EmcacheError } = await import("@emcache/protocol");
    let failures = 0;
    log.beforeAppend = async () => {
      if (failures++ < 3) throw new EmcacheError("postgres_unavailable", "away for a test");
    };
    const checkpoint = log.checkpoint;
    await insertMany("a", 100, 110);
    await eventually("appends fail", () => failures > 1);
    expect(log.checkpoint).toBe(checkpoint);
    await caughtUp(capture, 1, "a");
    expect(log.checkpoint).not.toBe(checkpoint);
  });

  test("invariant 7: no orphans after a drop, a rename away and a re-created collection", async () => {
    await insertMany("a", 0, 50);
    await insertMany("b", 100, 150);
    const capture = await startCapture([entityOf(1, "a"), entityOf(2, "b")]);
    await caughtUp(capture, 1, "a");
    await caughtUp(capture, 2, "b");
    await db.collection("a").drop();
    await insertMany("a", 200, 210);
    await caughtUp(capture, 1, "a");
    await db.collection("b").rename("elsewhere");
    await caughtUp(capture, 2, "b");
    expect(capture.log.table(2).size).toBe(0);
    await insertMany("c", 300, 330);
    await db.collection("c").rename("b");
    await caughtUp(capture, 2, "b");
    expect(capture.log.table(2).size).toBe(30);
    await db.dropDatabase();
    await eventually("both are empty", () => capture.log.table(1).size + capture.log.table(2).size === 0);
    await insertMany("a", 400, 410);
    await caughtUp(capture, 1, "a");
  });

  test("rows of a source transaction are logged whole, its end marked", async () => {
    await insertMany("a", 0, 10);
    const capture = await startCapture([entityOf(1, "a")]);
    await caughtUp(capture, 1, "a");
    const before = capture.log.rows.length;
    await client.withSession((session) =>
      session.withTransaction(async () => {
        await db.collection<{ _id: number; seq: number }>("a").insertMany(
          Array.from({ length: 500 }, (_, index) => ({ _id: 1_000 + index, seq: 1 })),
          { session },
        );
      }),
    );
    await caughtUp(capture, 1, "a");
    const rows = capture.log.rows.slice(before).filter(({ docId }) => docId.length === 4);
    expect(rows).toHaveLength(500);
    expect(new Set(rows.map(({ transaction }) => transaction)).size).toBe(1);
    expect(rows[0]?.transaction).not.toBeNull();
    expect(rows.map(({ transactionEnd }) => transactionEnd)).toEqual([
      ...Array.from({ length: 499 }, () => false),
      true,
    ]);
  });

  test("a copy that a cache asks for is made once a request", async () => {
    await insertMany("a", 0, 30);
    const capture = await startCapture([entityOf(1, "a")]);
    await caughtUp(capture, 1, "a");
    const copyId = capture.log.copies.get(1)?.copyId;
    capture.requested = [1];
    const startCount = (): number => capture.log.rows.filter(({ operation }) => operation === "sync_start").length;
    await eventually("the copy begins", () => startCount() === 2);
    await caughtUp(capture, 1, "a");
    capture.requested = [];
    await insertMany("a", 30, 40);
    await caughtUp(capture, 1, "a");
    expect(capture.log.copies.get(1)?.copyId).not.toBe(copyId);
    expect(startCount()).toBe(2);
  });

  test("invariant 4: linear history per document, where the log shows a looked-up state from beyond the checkpoint", async () => {
    await insertMany("a", 0, 10);
    const log = new MemoryCaptureLog();
    const first = await startCapture([entityOf(1, "a")], log);
    await caughtUp(first, 1, "a");
    await first.stop();
    // What an interrupted capture leaves: the document as it is after both events, and a checkpoint before them.
    const a = db.collection<{ _id: number; seq: number }>("a");
    await a.insertOne({ _id: 77, seq: 1 });
    await a.replaceOne({ _id: 77 }, { seq: 2 });
    const { operationTime } = await db.command({ ping: 1 });
    const id = { docId: "77", idType: 16, transaction: null, transactionEnd: false } as const;
    log.rows.push({ ...id, version: 1, operation: "upsert", origin: "stream", data: "[2]" });
    log.checkpoint = {
      resumeToken: log.checkpoint?.resumeToken ?? null,
      clusterTime: log.checkpoint?.clusterTime ?? null,
      lookupHorizon: clusterTimeOf(operationTime),
    };
    const second = await startCapture([entityOf(1, "a")], log);
    await insertMany("a", 10, 11, 5);
    await caughtUp(second, 1, "a");
    expect(log.rows.filter(({ docId }) => docId === "77").map(({ data }) => data)).not.toContain("[1]");
    assertForwardOnly(log, 1);
    await eventually("the horizon is passed", async () => {
      await a.updateOne({ _id: 1 }, { $inc: { seq: 1 } });
      return log.checkpoint?.lookupHorizon !== clusterTimeOf(operationTime);
    });
  });

  test("a token that the server does not know leads to a new copy, never to a start at now", async () => {
    await insertMany("a", 0, 20);
    const log = new MemoryCaptureLog();
    const first = await startCapture([entityOf(1, "a")], log);
    await caughtUp(first, 1, "a");
    await first.stop();
    await insertMany("a", 20, 30);
    const { BSON } = await import("mongodb");
    log.checkpoint = { resumeToken: BSON.serialize({ _data: "00112233" }), clusterTime: null, lookupHorizon: null };
    const second = await startCapture([entityOf(1, "a")], log);
    await caughtUp(second, 1, "a");
    expect(log.rows.filter(({ operation }) => operation === "sync_start")).toHaveLength(2);
    await second.stop();
    await insertMany("a", 30, 40);
    log.checkpoint = { resumeToken: Buffer.from("no BSON"), clusterTime: null, lookupHorizon: null };
    const third = await startCapture([entityOf(1, "a")], log);
    await caughtUp(third, 1, "a");
    expect(log.rows.filter(({ operation }) => operation === "sync_start")).toHaveLength(3);
  });
});

test("an event that is larger than its server can send is stepped over: its document is read", async () => {
  // As servers before MongoDB 7.0 without $changeStreamSplitLargeEvent (error 10334, BSONObjectTooLarge).
  const small = await DevMongo.start({ wireVersion: 17, eventBytesMax: 4_000 });
  server = small;
  client = await MongoClient.connect(small.uri);
  db = client.db("large_events");
  try {
    await insertMany("a", 0, 10);
    const capture = await startCapture([entityOf(1, "a")]);
    await caughtUp(capture, 1, "a");
    const a = db.collection<{ _id: number; seq: number; text?: string }>("a");
    await a.insertOne({ _id: 50, seq: 1, text: "x".repeat(6_000) });
    await a.replaceOne({ _id: 3 }, { seq: 2, text: "x".repeat(6_000) });
    await insertMany("a", 60, 70);
    await a.updateOne({ _id: 50 }, { $set: { seq: 2 } });
    await a.deleteOne({ _id: 3 });
    await caughtUp(capture, 1, "a");
    assertForwardOnly(capture.log, 1);
    expect(capture.log.rows.filter(({ operation }) => operation === "sync_start")).toHaveLength(1);
    expect(capture.log.rows.filter(({ docId }) => docId === "60")).toHaveLength(1);
  } finally {
    await captures.pop()?.stop();
    await client.close();
    await small.stop();
  }
});
