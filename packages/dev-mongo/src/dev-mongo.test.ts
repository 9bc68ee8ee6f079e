import { MongoClient, type Collection, type Document } from "mongodb";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { DevMongo } from "./dev-mongo.ts";

let server: DevMongo;
let client: MongoClient;
let collection: Collection<{ _id: number } & Document>;
let collectionNumber = 0;

beforeAll(async () => {
  server = await DevMongo.start();
  client = await MongoClient.connect(server.uri, { serverSelectionTimeoutMS: 5_000 });
});

afterAll(async () => {
  await client.close();
  await server.stop();
});

beforeEach(() => {
  server.faults.reset();
  collection = client.db("dev").collection(`c${++collectionNumber}`);
});

test("insert, find, update, delete and count, as the official driver asks for them", async () => {
  await collection.insertMany([
    { _id: 1, name: "ann", tags: ["a"] },
    { _id: 2, name: "bob", tags: [] },
    { _id: 3, name: "cid", age: 7 },
  ]);
  expect(await collection.updateOne({ _id: 1 }, { $set: { age: 41 }, $push: { tags: "b" } as never })).toMatchObject({
    matchedCount: 1,
    modifiedCount: 1,
  });
  expect(
    await collection
      .find({ age: { $gt: 5 } })
      .sort({ age: -1 })
      .project({ _id: 0, age: 1 })
      .toArray(),
  ).toEqual([{ age: 41 }, { age: 7 }]);
  expect(await collection.updateOne({ _id: 9 }, { $set: { name: "new" } }, { upsert: true })).toMatchObject({
    upsertedId: 9,
  });
  expect(await collection.deleteOne({ _id: 2 })).toMatchObject({ deletedCount: 1 });
  expect(await collection.countDocuments({})).toBe(3);
  expect(await collection.distinct("name", { _id: { $lt: 5 } })).toEqual(["ann", "cid"]);
  await expect(collection.insertOne({ _id: 1 })).rejects.toMatchObject({ code: 11000 });
});

test("a retryable write whose connection closes is done once", async () => {
  await collection.insertOne({ _id: 1, count: 0 });
  server.faults.failCommands({ commands: ["update"], closesConnection: true, isExecuted: true });
  expect(await collection.updateOne({ _id: 1 }, { $inc: { count: 1 } })).toMatchObject({ modifiedCount: 1 });
  expect(await collection.findOne({ _id: 1 })).toEqual({ _id: 1, count: 1 });
});

test("withTransaction: all of it or nothing, its events at one time", async () => {
  const stream = collection.watch();
  const events: Document[] = [];
  stream.on("change", (event) => events.push(event));
  let probe = 1_000;
  await until(async () => {
    await collection.insertOne({ _id: probe++ });
    return events.length > 0;
  });
  events.length = 0;
  await client.withSession((session) =>
    session.withTransaction(async () => {
      await collection.insertOne({ _id: 1 }, { session });
      await collection.insertOne({ _id: 2 }, { session });
      expect(await collection.findOne({ _id: 1 })).toBeNull();
    }),
  );
  await until(() => events.filter(({ documentKey }) => documentKey._id < 3).length === 2);
  const own = events.filter(({ documentKey }) => documentKey._id < 3);
  expect(new Set(own.map(({ clusterTime }) => String(clusterTime))).size).toBe(1);
  await expect(
    client.withSession((session) =>
      session.withTransaction(async () => {
        await collection.insertOne({ _id: 5 }, { session });
        throw new RangeError("no");
      }),
    ),
  ).rejects.toThrow("no");
  expect(await collection.findOne({ _id: 5 })).toBeNull();
  await stream.close();
});

test("a watch resumes by itself after a step-down and a closed connection", async () => {
  const stream = collection.watch();
  const seen: number[] = [];
  stream.on("change", (event) => {
    if (event.operationType === "insert") seen.push(event.documentKey._id);
  });
  let next = 0;
  await until(async () => {
    await collection.insertOne({ _id: next++ });
    return seen.length > 0;
  });
  server.faults.stepDown(200);
  await until(() =>
    collection.insertOne({ _id: next++ }).then(
      () => true,
      () => false,
    ),
  );
  server.faults.closeConnections();
  await until(() =>
    collection.insertOne({ _id: next++ }).then(
      () => true,
      () => false,
    ),
  );
  const stored = (await collection.find({}).toArray()).map(({ _id }) => _id);
  const missed = (): number[] => stored.filter((id) => id > (seen[0] ?? 0) && !seen.includes(id));
  await until(() => missed().length === 0);
  await stream.close();
});

test("lost history is 286, which no stream goes on from", async () => {
  const stream = collection.watch();
  await stream.tryNext();
  await collection.insertOne({ _id: 1 });
  const event = await stream.next();
  await stream.close();
  await collection.insertOne({ _id: 2 });
  server.faults.loseHistory();
  const resumed = collection.watch([], { resumeAfter: event._id });
  await expect(resumed.next()).rejects.toMatchObject({ code: 286 });
  await resumed.close().catch(() => undefined);
});

test("a token of a server that ran before is lost history, also that of a quiet stream", async () => {
  const before = await DevMongo.start({ noopIntervalMs: 20 });
  const itsClient = await MongoClient.connect(before.uri);
  const its = itsClient.db("dev").collection<{ _id: number }>("c");
  await its.insertOne({ _id: 1 });
  const stream = its.watch();
  await stream.tryNext();
  const token = stream.resumeToken;
  await stream.close();
  await itsClient.close();
  await before.stop();
  const after = await DevMongo.start();
  const client = await MongoClient.connect(after.uri);
  const resumed = client.db("dev").collection("c").watch([], { startAfter: token });
  await expect(resumed.tryNext()).rejects.toMatchObject({ code: 286 });
  await resumed.close().catch(() => undefined);
  await client.close();
  await after.stop();
});

test("as a standalone server it says so and has no change streams; documents have a natural order", async () => {
  const standalone = await DevMongo.start({ standalone: true });
  const client = await MongoClient.connect(standalone.uri);
  const rows = client.db("dev").collection<{ _id: number }>("c");
  await rows.insertMany([{ _id: 1 }, { _id: 2 }]);
  expect(await client.db("admin").command({ hello: 1 })).not.toHaveProperty("setName");
  await expect(rows.watch().tryNext()).rejects.toMatchObject({ code: 40_573 });
  expect(await rows.find().sort({ $natural: -1 }).limit(1).toArray()).toEqual([{ _id: 2 }]);
  await client.close();
  await standalone.stop();
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("not within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
