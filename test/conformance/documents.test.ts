import { BSON, type Db, type Document, Double, Int32, Long, MongoServerError, Timestamp } from "mongodb";
import { expect } from "vitest";
import { BSON_ZOO, type ZooValue, documentOf, zooValue } from "../support/bson-zoo.ts";
import { rawInsert } from "../support/raw-insert.ts";
import { BehaviourSuite, type Subject } from "./behaviour.ts";

const TYPED = { promoteValues: false, promoteBuffers: false, bsonRegExp: true } as const;

/** Ids of all orderable types, in BSON's order. */
const ORDERED_IDS: readonly unknown[] = [
  new BSON.MinKey(),
  null,
  new Double(Number.NaN),
  new Double(Number.NEGATIVE_INFINITY),
  Long.MIN_VALUE,
  new Double(-1.5),
  new Int32(-1),
  BSON.Decimal128.fromString("-0.5"),
  new Int32(0),
  BSON.Decimal128.fromString("0.25"),
  new Double(0.5),
  new Int32(1),
  new Double(1.5),
  Long.fromString("9007199254740993"),
  Long.MAX_VALUE,
  new Double(1e300),
  new Double(Number.POSITIVE_INFINITY),
  "",
  "a",
  "aa",
  "é",
  {},
  { a: new Int32(1) },
  { a: new Int32(1), b: new Int32(0) },
  { b: new Int32(0) },
  { a: "x" },
  new BSON.Binary(Buffer.from([9])),
  new BSON.Binary(Buffer.from([1, 2])),
  new BSON.UUID("00112233-4455-6677-8899-aabbccddeeff"),
  new BSON.ObjectId("000000000000000000000001"),
  new BSON.ObjectId("000000000000000000000002"),
  false,
  true,
  new Date(-1),
  new Date(0),
  new Date(1_700_000_000_000),
  new Timestamp({ t: 1, i: 1 }),
  new Timestamp({ t: 1, i: 2 }),
  new BSON.MaxKey(),
];

/** Types that no longer have a use; servers may translate them. */
const DEPRECATED: ReadonlySet<string> = new Set(["undefined", "DBPointer", "symbol"]);

/** By the command itself: the driver would replace an `_id` of null. */
async function insertIds(db: Db, documents: readonly Document[]): Promise<void> {
  const reply = await db.command({ insert: "ids", documents });
  expect(reply["writeErrors"]).toBeUndefined();
}

/** Inserts documents with a value of each of these, and compares their bytes as stored. */
async function assertRoundTrip({ client, db }: Subject, values: readonly ZooValue[]): Promise<void> {
  const documents = values.map((value, index) =>
    documentOf([
      ["_id", zooValue(index)],
      ["v", value],
      ["last", zooValue("end")],
    ]),
  );
  const { hosts } = client.options;
  const outcomes = await rawInsert(`mongodb://${hosts[0]?.toString() ?? ""}/`, db.databaseName, "zoo", documents);
  expect(outcomes.filter((outcome) => outcome !== null)).toEqual([]);
  const read: unknown[] = await db
    .collection<{ _id: number }>("zoo")
    .find({}, { raw: true })
    .sort({ _id: 1 })
    .toArray();
  expect(read.map((bytes) => Buffer.from(bytes as Uint8Array).toString("hex"))).toEqual(
    documents.map((bytes) => Buffer.from(bytes).toString("hex")),
  );
}

function text(id: unknown): string {
  return Buffer.from(BSON.serialize({ id })).toString("hex");
}

async function codeOf(work: Promise<unknown>): Promise<number | string> {
  try {
    await work;
    return "succeeds";
  } catch (error) {
    return error instanceof MongoServerError ? Number(error.code) : String(error);
  }
}

new BehaviourSuite("documents")
  .add("documents come back byte for byte", "Documents, Field Order", (subject) =>
    assertRoundTrip(
      subject,
      BSON_ZOO.filter(({ name }) => !DEPRECATED.has(name)),
    ),
  )
  .add("values of deprecated types come back as they were", "BSON Types (undefined, dbPointer, symbol)", (subject) =>
    assertRoundTrip(
      subject,
      BSON_ZOO.filter(({ name }) => DEPRECATED.has(name)),
    ),
  )
  .add("a double's tenth is not a decimal's", "Comparison/Sort Order, numeric types", async ({ db }) => {
    await insertIds(db, [{ _id: BSON.Decimal128.fromString("0.1") }, { _id: new Double(0.1) }]);
    const read = await db.collection("ids").find({}, TYPED).sort({ _id: 1 }).toArray();
    expect(read.map(({ _id }) => (_id as object).constructor.name)).toEqual(["Decimal128", "Double"]);
  })
  .add("ids of all types sort in BSON's order", "Comparison/Sort Order", async ({ db }) => {
    const documents = ORDERED_IDS.map((_id, place) => ({ _id, place }));
    const shuffled = [...documents].sort((a, b) => ((a.place * 7919) % 41) - ((b.place * 7919) % 41));
    await insertIds(db, shuffled);
    const read = await db.collection("ids").find({}, TYPED).sort({ _id: 1 }).toArray();
    expect(read.map(({ _id }) => text(_id))).toEqual(ORDERED_IDS.map(text));
  })
  .add("min() on _id goes on over all types", "cursor.min()", async ({ db }) => {
    await insertIds(
      db,
      ORDERED_IDS.map((_id) => ({ _id })),
    );
    for (const at of [1, 5, 16, 20, 26, 35]) {
      const bound = { _id: ORDERED_IDS[at] } as Document;
      const read = await db.collection("ids").find({}, TYPED).min(bound).hint({ _id: 1 }).sort({ _id: 1 }).toArray();
      expect(read.map(({ _id }) => text(_id))).toEqual(ORDERED_IDS.slice(at).map(text));
    }
  })
  .add("$gt stays within one type", "Comparison/Sort Order, type bracketing", async ({ db }) => {
    const collection = db.collection("ids");
    await insertIds(db, [{ _id: 1 }, { _id: 2 }, { _id: "a" }, { _id: null }]);
    expect(await collection.find({ _id: { $gt: 1 } } as Document).toArray()).toEqual([{ _id: 2 }]);
    expect(await collection.find({ _id: { $lt: "b" } } as Document).toArray()).toEqual([{ _id: "a" }]);
  })
  .add("equal numbers of different types are one id", "Comparison/Sort Order, numeric types", async ({ db }) => {
    const collection = db.collection("ids");
    await collection.insertOne({ _id: new Int32(1) } as Document);
    expect(await codeOf(collection.insertOne({ _id: new Double(1) } as Document))).toBe(11_000);
    expect(await codeOf(collection.insertOne({ _id: BSON.Decimal128.fromString("1.0") } as Document))).toBe(11_000);
    const found = await collection.find({ _id: { $in: [Long.fromNumber(1)] } } as Document, TYPED).toArray();
    expect(found.map(({ _id }) => text(_id))).toEqual([text(new Int32(1))]);
  })
  .add("ids of every type are found by $in", "$in", async ({ db }) => {
    await insertIds(
      db,
      ORDERED_IDS.map((_id) => ({ _id })),
    );
    const read = await db
      .collection("ids")
      .find({ _id: { $in: [...ORDERED_IDS] } } as Document, TYPED)
      .toArray();
    expect(new Set(read.map(({ _id }) => text(_id)))).toEqual(new Set(ORDERED_IDS.map(text)));
  })
  .add("a cursor keeps to its batch size and ends with id 0", "Cursor Batches", async ({ client, db }) => {
    await db.collection<{ _id: number }>("rows").insertMany(Array.from({ length: 25 }, (_, _id) => ({ _id })));
    const session = client.startSession();
    const opened = await db.command(
      { find: "rows", sort: { _id: 1 }, batchSize: 10 },
      { session, promoteLongs: false },
    );
    const sizes = [(opened["cursor"] as Document)["firstBatch"].length as number];
    let id = (opened["cursor"] as Document)["id"] as Long;
    while (!id.isZero()) {
      const more = await db.command(
        { getMore: id, collection: "rows", batchSize: 10 },
        { session, promoteLongs: false },
      );
      id = (more["cursor"] as Document)["id"] as Long;
      sizes.push((more["cursor"] as Document)["nextBatch"].length as number);
    }
    expect(sizes).toEqual([10, 10, 5]);
    await session.endSession();
  })
  .add("a killed cursor is not found", "getMore; error 43 CursorNotFound", async ({ client, db }) => {
    await db.collection<{ _id: number }>("rows").insertMany(Array.from({ length: 25 }, (_, _id) => ({ _id })));
    const session = client.startSession();
    const opened = await db.command({ find: "rows", batchSize: 2 }, { session, promoteLongs: false });
    const { id } = opened["cursor"] as { id: Long };
    await db.command({ killCursors: "rows", cursors: [id] }, { session });
    expect(await codeOf(db.command({ getMore: id, collection: "rows" }, { session }))).toBe(43);
    await session.endSession();
  })
  .add("every reply tells its time", "Database Commands, Response (operationTime, $clusterTime)", async ({ db }) => {
    await db.collection<{ _id: number }>("rows").insertOne({ _id: 1 });
    for (const command of [{ find: "rows" }, { count: "rows" }, { ping: 1 }]) {
      const reply = await db.command(command);
      expect(reply["operationTime"]).toBeInstanceOf(Timestamp);
      expect(reply["$clusterTime"]).toBeDefined();
    }
  })
  .add(
    "a write's time is later than what was read before, and a read after it sees it",
    "Causal Consistency",
    async ({ db }) => {
      const before = (await db.command({ ping: 1 }))["operationTime"] as Timestamp;
      const written = (await db.command({ insert: "rows", documents: [{ _id: 1 }] }))["operationTime"] as Timestamp;
      expect(written.toBigInt() > before.toBigInt()).toBe(true);
      const readConcern = { level: "majority", afterClusterTime: written };
      const reply = await db.command({ find: "rows", readConcern });
      expect((reply["cursor"] as Document)["firstBatch"]).toEqual([{ _id: 1 }]);
    },
  )
  .add(
    "a tailable cursor waits at the end of a capped collection, whose oldest documents give way",
    "Tailable Cursors, Capped Collections",
    async ({ db }) => {
      await db.createCollection("tail", { capped: true, size: 1_000_000, max: 3 });
      const collection = db.collection<{ _id: number }>("tail");
      await collection.insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }, { _id: 4 }]);
      const cursor = collection.find({}, { tailable: true, awaitData: true, maxAwaitTimeMS: 2_000 });
      const seen: number[] = [];
      for (let count = 0; count < 3; count++) seen.push((await cursor.next())?._id ?? -1);
      const waiting = cursor.next();
      await collection.insertOne({ _id: 5 });
      seen.push((await waiting)?._id ?? -1);
      expect(seen).toEqual([2, 3, 4, 5]);
      await cursor.close();
      expect(await collection.countDocuments()).toBe(3);
    },
  )
  .add("updates keep the types of numbers", "$inc", async ({ db }) => {
    const collection = db.collection("rows");
    await collection.insertOne({
      _id: 1,
      int: new Int32(2_147_483_647),
      double: new Double(1),
      long: Long.fromNumber(5),
    } as Document);
    await collection.updateOne({ _id: 1 } as Document, { $inc: { int: 1, double: 1, long: 1, made: 1 } });
    const [document] = await collection.find({}, TYPED).toArray();
    expect(text(document)).toBe(
      text({
        _id: new Int32(1),
        int: Long.fromNumber(2_147_483_648),
        double: new Double(2),
        long: Long.fromNumber(6),
        made: new Int32(1),
      }),
    );
  })
  .add("update operators do what the manual's examples do", "Update Operators", async ({ db }) => {
    const collection = db.collection("rows");
    const apply = async (
      document: Document,
      update: Document,
      options: Document = {},
      filter: Document = {},
    ): Promise<unknown> => {
      await collection.deleteMany({});
      await collection.insertOne({ _id: 1, ...document } as Document);
      await collection.updateOne({ _id: 1, ...filter } as Document, update, options);
      const [{ _id, ...rest } = {} as Document] = await collection.find().toArray();
      return rest;
    };
    expect(await apply({ grades: [85, 80, 80] }, { $set: { "grades.$": 82 } }, {}, { grades: 80 })).toEqual({
      grades: [85, 82, 80],
    });
    expect(await apply({ grades: [85, 82, 90] }, { $inc: { "grades.$[]": 10 } })).toEqual({ grades: [95, 92, 100] });
    expect(
      await apply(
        { grades: [95, 102, 90] },
        { $set: { "grades.$[g]": 100 } },
        { arrayFilters: [{ g: { $gte: 100 } }] },
      ),
    ).toEqual({ grades: [95, 100, 90] });
    expect(await apply({ a: [5, 6, 7] }, { $push: { a: { $each: [8, 1], $sort: 1, $slice: -3 } } })).toEqual({
      a: [6, 7, 8],
    });
    expect(await apply({ a: [1, 2] }, { $addToSet: { a: { $each: [2, 3] } } })).toEqual({ a: [1, 2, 3] });
    expect(await apply({ a: [1, 5, 6, 7] }, { $pull: { a: { $gte: 6 } } })).toEqual({ a: [1, 5] });
    expect(await apply({ a: { b: 1 } }, { $rename: { "a.b": "c" }, $unset: { x: "" } })).toEqual({ a: {}, c: 1 });
    expect(await apply({ low: 5, high: 5 }, { $min: { low: 3 }, $max: { high: 9 }, $mul: { none: 2 } })).toEqual({
      low: 3,
      high: 9,
      none: 0,
    });
    expect(
      await apply({ a: 1, b: 2 }, [{ $set: { sum: { $add: ["$a", "$b"] } } }, { $unset: "a" }] as Document),
    ).toEqual({ b: 2, sum: 3 });
  })
  .add("an update can't change _id", "Update Operators; error 66 ImmutableField", async ({ db }) => {
    const collection = db.collection("rows");
    await collection.insertOne({ _id: 1 } as Document);
    expect(await codeOf(collection.updateOne({ _id: 1 } as Document, { $set: { _id: 2 } }))).toBe(66);
  })
  .add("an upsert takes over what its filter says by equality", "update, Upsert Behavior", async ({ db }) => {
    const collection = db.collection("rows");
    await collection.updateOne(
      { _id: 7, "a.b": 1, c: { $gt: 3 } } as Document,
      { $set: { d: 2 }, $setOnInsert: { e: 5 } },
      { upsert: true },
    );
    expect(await collection.find().toArray()).toEqual([{ _id: 7, a: { b: 1 }, d: 2, e: 5 }]);
  })
  .add("a unique index refuses a second value", "Unique Indexes", async ({ db }) => {
    const collection = db.collection("rows");
    await collection.createIndex({ mail: 1 }, { unique: true });
    await collection.insertOne({ _id: 1, mail: "a" } as Document);
    expect(await codeOf(collection.insertOne({ _id: 2, mail: "a" } as Document))).toBe(11_000);
    expect(await codeOf(collection.updateOne({ _id: 1 } as Document, { $set: { mail: "b" } }))).toBe("succeeds");
    expect(await codeOf(collection.insertOne({ _id: 2, mail: "a" } as Document))).toBe("succeeds");
  })
  .add("an ordered insert stops at its first error, an unordered one goes on", "insert, ordered", async ({ db }) => {
    const documents = [{ _id: 1 }, { _id: 1 }, { _id: 2 }];
    const ordered = await db.command({ insert: "a", documents });
    expect([ordered["n"], (ordered["writeErrors"] as Document[]).map(({ index, code }) => [index, code])]).toEqual([
      1,
      [[1, 11_000]],
    ]);
    const unordered = await db.command({ insert: "b", documents, ordered: false });
    expect(unordered["n"]).toBe(2);
  })
  .add("aggregations group, unwind and look up", "Aggregation Stages", async ({ db }) => {
    await db.collection("orders").insertMany([
      { _id: 1, item: "a", lines: [1, 2] },
      { _id: 2, item: "b", lines: [3] },
    ] as Document[]);
    await db.collection("items").insertOne({ _id: "a", price: 5 } as Document);
    const result = await db
      .collection("orders")
      .aggregate([
        { $unwind: "$lines" },
        { $group: { _id: "$item", n: { $sum: 1 }, sum: { $sum: "$lines" } } },
        { $lookup: { from: "items", localField: "_id", foreignField: "_id", as: "items" } },
        { $sort: { _id: 1 } },
      ])
      .toArray();
    expect(result).toEqual([
      { _id: "a", n: 2, sum: 3, items: [{ _id: "a", price: 5 }] },
      { _id: "b", n: 1, sum: 3, items: [] },
    ]);
  })
  .declare();
