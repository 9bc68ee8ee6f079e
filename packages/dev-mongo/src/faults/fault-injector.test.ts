import { type Db, type Document, type Long, MongoClient, MongoServerError } from "mongodb";
import { afterEach, expect, test } from "vitest";
import { DevMongo, type DevMongoOptions } from "../dev-mongo.ts";

type Row = { _id: number } & Document;

const running: { client: MongoClient; server: DevMongo }[] = [];

async function start(options: DevMongoOptions = {}): Promise<{ server: DevMongo; client: MongoClient; db: Db }> {
  const server = await DevMongo.start(options);
  const client = await MongoClient.connect(server.uri, { retryReads: false, retryWrites: false });
  running.push({ client, server });
  return { server, client, db: client.db("faults") };
}

afterEach(async () => {
  for (const { client, server } of running.splice(0)) {
    server.faults.reset();
    await client.close();
    await server.stop();
  }
});

async function failureOf(work: Promise<unknown>): Promise<MongoServerError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof MongoServerError) return error;
    throw error;
  }
}

async function insertRows(db: Db, from: number, to: number): Promise<void> {
  await db
    .collection<Row>("rows")
    .insertMany(Array.from({ length: to - from }, (_, index) => ({ _id: from + index, a: 0 })));
}

/** A cursor or a stream, read by commands. */
async function open(
  client: MongoClient,
  db: Db,
  command: Document,
): Promise<{ first: Document[]; token: unknown; next(): Promise<Document[]> }> {
  const session = client.startSession();
  const { cursor } = (await db.command(command, { session, promoteLongs: false })) as { cursor: Document };
  const id = cursor["id"] as Long;
  const collection = String(cursor["ns"]).slice(db.databaseName.length + 1);
  return {
    first: cursor["firstBatch"] as Document[],
    token: cursor["postBatchResumeToken"],
    next: async () => {
      const getMore = {
        getMore: id,
        collection,
        ...(command["find"] === undefined ? { maxTimeMS: 100 } : {}),
        batchSize: command["batchSize"] ?? 1_000,
      };
      const reply = (await db.command(getMore, { session, promoteLongs: false })) as { cursor: Document };
      return reply.cursor["nextBatch"] as Document[];
    },
  };
}

function stream(client: MongoClient, db: Db, stage: Document = {}, stages: Document[] = []): ReturnType<typeof open> {
  return open(client, db, { aggregate: 1, pipeline: [{ $changeStream: stage }, ...stages], cursor: {} });
}

test("the next commands of a kind fail with a code and labels, as often as asked", async () => {
  const { server, db } = await start();
  server.faults.failCommands({ commands: ["find"], code: 91, labels: ["SomeLabel"], times: 2 });
  await insertRows(db, 0, 1);
  for (let count = 0; count < 2; count++) {
    const failure = await failureOf(db.collection("rows").findOne());
    expect([failure?.code, failure?.hasErrorLabel("SomeLabel")]).toEqual([91, true]);
  }
  expect(await db.collection<Row>("rows").findOne()).toEqual({ _id: 0, a: 0 });
});

test("the same by an admin command, and by MongoDB's own fail point", async () => {
  const { client, db } = await start();
  const admin = client.db("admin");
  await admin.command({
    emcacheFault: "failCommands",
    commands: ["insert"],
    code: 112,
    labels: ["TransientTransactionError"],
  });
  expect((await failureOf(insertRows(db, 0, 1)))?.code).toBe(112);
  await admin.command({
    configureFailPoint: "failCommand",
    mode: { times: 1 },
    data: { failCommands: ["insert"], errorCode: 10_107 },
  });
  expect((await failureOf(insertRows(db, 0, 1)))?.code).toBe(10_107);
  await insertRows(db, 0, 1);
});

test("a scan may be served live, from its opening, or read ahead", async () => {
  const { server, client, db } = await start();
  await insertRows(db, 0, 10);
  const rest = async (): Promise<unknown[]> => {
    const scan = await open(client, db, { find: "rows", sort: { _id: 1 }, batchSize: 2 });
    await db.collection<Row>("rows").updateMany({}, { $inc: { a: 1 } });
    await db.collection<Row>("rows").deleteOne({ _id: 9 });
    const seen: unknown[] = [];
    for (let batch = await scan.next(); batch.length > 0; batch = batch.length < 2 ? [] : await scan.next()) {
      seen.push(...batch.map(({ _id, a }) => [_id, a]));
    }
    await db.collection<Row>("rows").replaceOne({ _id: 9 }, { a: 0 }, { upsert: true });
    await db.collection<Row>("rows").updateMany({}, { $set: { a: 0 } });
    return seen;
  };
  const ids = [2, 3, 4, 5, 6, 7, 8];
  expect(await rest()).toEqual(ids.map((id) => [id, 1]));
  server.faults.scanMode = { kind: "snapshot" };
  expect(await rest()).toEqual([...ids, 9].map((id) => [id, 0]));
  server.faults.scanMode = { kind: "readAhead", documents: 3 };
  expect(await rest()).toEqual(ids.map((id) => [id, id < 5 ? 0 : 1]));
});

test("while streams are held, look-ups see the future and majority reads do not", async () => {
  const { server, client, db } = await start();
  await insertRows(db, 0, 1);
  const events = await stream(client, db, { fullDocument: "updateLookup" });
  server.faults.holdStreams();
  const rows = db.collection<Row>("rows");
  await rows.updateOne({ _id: 0 }, { $set: { a: 1 } });
  await rows.updateOne({ _id: 0 }, { $set: { a: 2 } });
  expect(await events.next()).toEqual([]);
  expect(await rows.findOne({}, { readConcern: "majority" })).toEqual({ _id: 0, a: 0 });
  expect(await rows.findOne()).toEqual({ _id: 0, a: 2 });
  server.faults.releaseStreams();
  const late = await events.next();
  expect(late.map(({ fullDocument }) => (fullDocument as Row)["a"] as number)).toEqual([2, 2]);
});

test("a rollback takes back writes that no stream has shown; others' tokens stay good", async () => {
  const { server, client, db } = await start();
  await insertRows(db, 0, 2);
  const before = await stream(client, db);
  await insertRows(db, 2, 3);
  const [event] = await before.next();
  server.faults.holdStreams();
  await insertRows(db, 3, 5);
  await db.collection<Row>("rows").deleteOne({ _id: 0 });
  expect(server.faults.rollBack(3)).toBe(3);
  // Connections were closed: the driver makes new ones.
  await expect
    .poll(() =>
      db.command({ ping: 1 }).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  expect((await db.collection<Row>("rows").find().sort({ _id: 1 }).toArray()).map(({ _id }) => _id)).toEqual([0, 1, 2]);
  const after = await stream(client, db, { resumeAfter: event?.["_id"] as Document });
  await insertRows(db, 9, 10);
  expect((await after.next()).map(({ documentKey }) => documentKey as Row)).toEqual([{ _id: 9 }]);
});

test("a token of a write that was rolled back is not found", async () => {
  const { server, client, db } = await start();
  const shown = await stream(client, db);
  await insertRows(db, 0, 1);
  const [event] = await shown.next();
  server.faults.rollBack(1);
  await expect
    .poll(() =>
      db.command({ ping: 1 }).then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  const failure = await failureOf(stream(client, db, { resumeAfter: event?.["_id"] as Document }));
  expect([failure?.code, failure?.hasErrorLabel("NonResumableChangeStreamError")]).toEqual([280, true]);
});

test("an oplog that was outrun answers 286, at a stream's next reply too", async () => {
  const { client, db } = await start({ oplogEntriesMax: 10 });
  const slow = await stream(client, db);
  await insertRows(db, 0, 50);
  const failure = await failureOf(slow.next());
  expect([failure?.code, failure?.hasErrorLabel("NonResumableChangeStreamError")]).toEqual([286, true]);
  expect((await failureOf(stream(client, db, { resumeAfter: slow.token })))?.code).toBe(286);
});

test("fragments of a large event may come again or not at all", async () => {
  const { server, client, db } = await start({ eventBytesMax: 5_000 });
  await db.createCollection("rows", { changeStreamPreAndPostImages: { enabled: true } });
  await db.collection<Row>("rows").insertOne({ _id: 1, text: "a".repeat(3_500) });
  const stage = { fullDocument: "whenAvailable", fullDocumentBeforeChange: "whenAvailable" };
  const split = [{ $changeStreamSplitLargeEvent: {} }];
  const events = await stream(client, db, stage, split);
  await db.collection<Row>("rows").updateOne({ _id: 1 }, { $set: { text: "b".repeat(3_500) } });
  const fragments = await events.next();
  const numbers = (list: readonly Document[]): number[] =>
    list.map(({ splitEvent }) => (splitEvent as Document)["fragment"] as number);
  expect(numbers(fragments)).toEqual([1, 2, 3]);
  const resumed = async (): Promise<number[]> => {
    const again = await stream(client, db, { ...stage, resumeAfter: fragments[0]?.["_id"] as Document }, split);
    return numbers([...again.first, ...(await again.next())]);
  };
  expect(await resumed()).toEqual([2, 3]);
  server.faults.fragments = { kind: "repeat" };
  expect(await resumed()).toEqual([1, 2, 3]);
  server.faults.fragments = { kind: "drop", count: 1 };
  expect(await resumed()).toEqual([3]);
});

test("a frozen server answers nothing until it thaws", async () => {
  const { server, db } = await start();
  await insertRows(db, 0, 1);
  server.faults.freeze();
  let isAnswered = false;
  const asked = db
    .collection("rows")
    .findOne()
    .then(() => {
      isAnswered = true;
    });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isAnswered).toBe(false);
  server.faults.thaw();
  await asked;
  expect(isAnswered).toBe(true);
});

test("a step-down refuses writes and ends cursors, and the driver finds the primary again", async () => {
  const { server, client, db } = await start();
  await insertRows(db, 0, 10);
  const scan = await open(client, db, { find: "rows", batchSize: 2 });
  server.faults.stepDown(150);
  expect([10_107, 13_435]).toContain((await failureOf(insertRows(db, 10, 11)))?.code);
  await insertRows(db, 10, 11);
  expect((await failureOf(scan.next()))?.code).toBe(43);
});

test("two mongos: a cursor lives on the one that opened it", async () => {
  const { server, db } = await start({ mongosCount: 2 });
  await insertRows(db, 0, 10);
  const hosts = /\/\/([^/]+)/.exec(server.uri)?.[1]?.split(",") ?? [];
  expect(hosts).toHaveLength(2);
  const clients = await Promise.all(
    hosts.map((host) => MongoClient.connect(`mongodb://${host}/?directConnection=true`)),
  );
  try {
    const [one, other] = clients.map((client) => client.db("faults"));
    expect((await one?.admin().command({ hello: 1 }))?.["msg"]).toBe("isdbgrid");
    const session = clients[0]?.startSession();
    const opened = (await one?.command(
      { find: "rows", batchSize: 2 },
      { ...(session === undefined ? {} : { session }), promoteLongs: false },
    )) as { cursor: Document };
    const getMore = { getMore: opened.cursor["id"] as Long, collection: "rows" };
    expect((await failureOf(other?.command(getMore) ?? Promise.resolve()))?.code).toBe(43);
    await session?.endSession();
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
});
