import { type Db, type Document, Long, MongoServerError, Timestamp } from "mongodb";
import { expect } from "vitest";
import { BehaviourSuite, type Subject } from "./behaviour.ts";
import { CommandStream } from "./command-stream.ts";

type Row = { _id: number } & Document;

function rows(db: Db, name = "rows"): ReturnType<typeof db.collection<Row>> {
  return db.collection<Row>(name);
}

/** Operation and `_id` of each event. */
function gist(events: readonly Document[]): unknown[] {
  return events.map(({ operationType, documentKey, ns }) => [
    operationType,
    documentKey === undefined ? (ns as Document | undefined)?.["coll"] : (documentKey as Document)["_id"],
  ]);
}

async function failureOf(work: Promise<unknown>): Promise<MongoServerError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof MongoServerError) return error;
    throw error;
  }
}

/** A stream on the test's database and, after `work`, its events. */
async function eventsOf(
  { client, db }: Subject,
  count: number,
  work: () => Promise<unknown>,
  stage: Document = {},
  options: { collection?: string; stages?: Document[] } = {},
): Promise<Document[]> {
  const stream = await CommandStream.open(client, db, options.collection ?? null, stage, options.stages ?? []);
  await work();
  const events = await stream.events(count);
  await stream.close();
  return events;
}

new BehaviourSuite("change streams")
  .add(
    "an opened stream has a token, also without events",
    "Change Streams, postBatchResumeToken (drivers' specification)",
    async ({ client, db }) => {
      await rows(db).insertOne({ _id: 0 });
      const stream = await CommandStream.open(client, db, null);
      expect(stream.token["_data"]).toBeTypeOf("string");
      expect(stream.first).toEqual([]);
      await stream.close();
    },
  )
  .add(
    "the token of a quiet stream advances",
    "Change Streams, Resume Tokens from postBatchResumeToken",
    async ({ client, db }) => {
      await rows(db).insertOne({ _id: 0 });
      const stream = await CommandStream.open(client, db, null);
      const { token } = stream;
      const deadline = performance.now() + 25_000;
      while (stream.token["_data"] === token["_data"]) {
        expect(performance.now(), "in 25 s").toBeLessThan(deadline);
        expect(await stream.next(500)).toEqual([]);
      }
      await stream.close();
    },
  )
  .add("writes are events, in their order", "Change Events", async (subject) => {
    const { db } = subject;
    await rows(db).insertOne({ _id: 0 });
    const events = await eventsOf(subject, 5, async () => {
      await rows(db).insertOne({ _id: 1, a: 1 });
      await rows(db).updateOne({ _id: 1 }, { $set: { a: 2 } });
      await rows(db).replaceOne({ _id: 1 }, { b: 3 });
      await rows(db).deleteOne({ _id: 1 });
      await rows(db).insertOne({ _id: 2 });
    });
    expect(gist(events)).toEqual([
      ["insert", 1],
      ["update", 1],
      ["replace", 1],
      ["delete", 1],
      ["insert", 2],
    ]);
    expect(events.map(({ fullDocument }) => fullDocument)).toEqual([
      { _id: 1, a: 1 },
      undefined,
      { _id: 1, b: 3 },
      undefined,
      { _id: 2 },
    ]);
    for (const event of events) {
      expect(event["ns"]).toEqual({ db: db.databaseName, coll: "rows" });
      expect(event["clusterTime"]).toBeInstanceOf(Timestamp);
    }
  })
  .add(
    "events tell the wall time",
    "Change Events, wallTime (new in 6.0)",
    async (subject) => {
      const [event] = await eventsOf(subject, 1, () => rows(subject.db).insertOne({ _id: 1 }));
      expect(event?.["wallTime"]).toBeInstanceOf(Date);
    },
    { since: 6 },
  )
  .add("an update that changes nothing is no event", "update, nModified", async (subject) => {
    await rows(subject.db).insertOne({ _id: 1, a: 1 });
    const events = await eventsOf(subject, 1, async () => {
      await rows(subject.db).updateOne({ _id: 1 }, { $set: { a: 1 } });
      await rows(subject.db).insertOne({ _id: 2 });
    });
    expect(gist(events)).toEqual([["insert", 2]]);
  })
  .add(
    "an update is described",
    "update Event, updateDescription",
    async (subject) => {
      const { db } = subject;
      await rows(db).insertOne({ _id: 1, a: { b: 1, c: 2 }, gone: 1, list: [1, 2, 3], same: 1 });
      const events = await eventsOf(subject, 2, async () => {
        await rows(db).updateOne({ _id: 1 }, { $set: { "a.b": 5, new: "x" }, $unset: { gone: "" } });
        await rows(db).updateOne({ _id: 1 }, [{ $set: { list: [1, 2] } }]);
      });
      expect(events[0]?.["updateDescription"]).toMatchObject({
        updatedFields: { "a.b": 5, new: "x" },
        removedFields: ["gone"],
      });
      expect(events[1]?.["updateDescription"]).toMatchObject({
        updatedFields: {},
        removedFields: [],
        truncatedArrays: [{ field: "list", newSize: 2 }],
      });
    },
    { since: 6 },
  )
  .add("cluster times of events do not go back, and tokens differ", "Change Events, clusterTime", async (subject) => {
    const events = await eventsOf(subject, 20, () =>
      rows(subject.db).insertMany(Array.from({ length: 20 }, (_, _id) => ({ _id }))),
    );
    const times = events.map(({ clusterTime }) => (clusterTime as Timestamp).toBigInt());
    expect(times).toEqual(times.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    expect(new Set(events.map(({ _id }) => (_id as Document)["_data"])).size).toBe(20);
  })
  .add("tokens sort as strings", "Change Streams, Resume Tokens", async (subject) => {
    const events = await eventsOf(subject, 5, async () => {
      for (let _id = 0; _id < 5; _id++) await rows(subject.db).insertOne({ _id });
    });
    const tokens = events.map(({ _id }) => String((_id as Document)["_data"]));
    expect(tokens).toEqual(tokens.toSorted());
    expect(tokens.every((token) => /^82[0-9A-F]+$/.test(token))).toBe(true);
  })
  .add("resumeAfter any event gives exactly what followed", "Resume a Change Stream, resumeAfter", async (subject) => {
    const { client, db } = subject;
    const events = await eventsOf(subject, 6, () =>
      rows(db).insertMany(Array.from({ length: 6 }, (_, _id) => ({ _id }))),
    );
    for (const [index, { _id }] of events.entries()) {
      const stream = await CommandStream.open(client, db, null, { resumeAfter: _id as Document });
      expect(gist(await stream.events(5 - index))).toEqual(gist(events.slice(index + 1)));
      await stream.close();
    }
  })
  .add(
    "the token of an empty batch resumes without a gap and without repeating",
    "Resume a Change Stream",
    async (subject) => {
      const { client, db } = subject;
      const stream = await CommandStream.open(client, db, null);
      await rows(db).insertOne({ _id: 1 });
      expect(await stream.events(1)).toHaveLength(1);
      expect(await stream.next(50)).toEqual([]);
      const { token } = stream;
      await stream.close();
      await rows(db).insertOne({ _id: 2 });
      const resumed = await CommandStream.open(client, db, null, { resumeAfter: token });
      expect(gist(await resumed.events(1))).toEqual([["insert", 2]]);
      await resumed.close();
    },
  )
  .add("startAtOperationTime includes the write of that time", "startAtOperationTime", async ({ client, db }) => {
    await rows(db).insertOne({ _id: 0 });
    const reply = await db.command({ insert: "rows", documents: [{ _id: 1 }] });
    await rows(db).insertOne({ _id: 2 });
    const stage = { startAtOperationTime: reply["operationTime"] as Timestamp };
    const stream = await CommandStream.open(client, db, null, stage);
    expect(gist(await stream.events(2))).toEqual([
      ["insert", 1],
      ["insert", 2],
    ]);
    await stream.close();
  })
  .add("a match on names and operations filters", "Modify Change Stream Output", async (subject) => {
    const { db } = subject;
    const stages = [{ $match: { $or: [{ "ns.coll": { $in: ["a"] } }, { operationType: { $in: ["dropDatabase"] } }] } }];
    const events = await eventsOf(
      subject,
      1,
      async () => {
        await rows(db, "b").insertOne({ _id: 1 });
        await rows(db, "a").insertOne({ _id: 2 });
      },
      {},
      { stages },
    );
    expect(gist(events)).toEqual([["insert", 2]]);
  })
  .add("a match on the document, a projection and a dropped field", "Modify Change Stream Output", async (subject) => {
    const { db } = subject;
    await rows(db).insertOne({ _id: 0, a: 0 });
    const stages = [
      { $match: { $or: [{ "fullDocument.a": { $gt: 5 } }, { operationType: "update" }] } },
      { $unset: "updateDescription" },
    ];
    const work = async (): Promise<void> => {
      await rows(db).insertMany([
        { _id: 1, a: 3 },
        { _id: 2, a: 9 },
      ]);
      await rows(db).updateOne({ _id: 0 }, { $set: { a: 1 } });
    };
    const events = await eventsOf(subject, 2, work, {}, { stages });
    expect(gist(events)).toEqual([
      ["insert", 2],
      ["update", 0],
    ]);
    expect(events[1]).not.toHaveProperty("updateDescription");
  })
  .add(
    "a pipeline that takes the token away fails for good",
    "Modify Change Stream Output; error 280, NonResumableChangeStreamError",
    async (subject) => {
      const failure = await failureOf(
        eventsOf(subject, 1, () => rows(subject.db).insertOne({ _id: 1 }), {}, { stages: [{ $unset: "_id" }] }),
      );
      expect(failure?.code).toBe(280);
      expect(failure?.hasErrorLabel("NonResumableChangeStreamError")).toBe(true);
    },
  )
  .add(
    "updateLookup shows the present document, null once it is gone",
    "Lookup Full Document of Update Operations",
    async (subject) => {
      const { db } = subject;
      await rows(db).insertMany([{ _id: 1 }, { _id: 2 }]);
      const work = async (): Promise<void> => {
        await rows(db).updateOne({ _id: 1 }, { $set: { a: 1 } });
        await rows(db).updateOne({ _id: 2 }, { $set: { a: 1 } });
        await rows(db).deleteOne({ _id: 2 });
      };
      const events = await eventsOf(subject, 3, work, { fullDocument: "updateLookup" });
      expect(events[0]?.["fullDocument"]).toEqual({ _id: 1, a: 1 });
      // Looked up when the event is read: before or after the deletion.
      expect([null, { _id: 2, a: 1 }]).toContainEqual(events[1]?.["fullDocument"]);
    },
  )
  .add(
    "images are the document right before and right after",
    "Change Streams with Document Pre- and Post-Images",
    async (subject) => {
      const { db } = subject;
      await db.createCollection("rows", { changeStreamPreAndPostImages: { enabled: true } });
      await rows(db).insertOne({ _id: 1, a: 0 });
      const work = async (): Promise<void> => {
        await rows(db).updateOne({ _id: 1 }, { $set: { a: 1 } });
        await rows(db).updateOne({ _id: 1 }, { $set: { a: 2 } });
        await rows(db).deleteOne({ _id: 1 });
      };
      const stage = { fullDocument: "whenAvailable", fullDocumentBeforeChange: "whenAvailable" };
      const events = await eventsOf(subject, 3, work, stage);
      expect(
        events.map(({ fullDocument, fullDocumentBeforeChange }) => [fullDocumentBeforeChange, fullDocument]),
      ).toEqual([
        [
          { _id: 1, a: 0 },
          { _id: 1, a: 1 },
        ],
        [
          { _id: 1, a: 1 },
          { _id: 1, a: 2 },
        ],
        [{ _id: 1, a: 2 }, undefined],
      ]);
    },
    { since: 6 },
  )
  .add(
    "without images whenAvailable is null and required fails",
    "Change Streams with Document Pre- and Post-Images",
    async (subject) => {
      const { db } = subject;
      await rows(db).insertOne({ _id: 1 });
      const update = (): Promise<unknown> => rows(db).updateOne({ _id: 1 }, { $inc: { a: 1 } });
      const [event] = await eventsOf(subject, 1, update, { fullDocument: "whenAvailable" });
      expect(event?.["fullDocument"]).toBeNull();
      const failure = await failureOf(eventsOf(subject, 1, update, { fullDocument: "required" }));
      expect(failure?.code).toBe(47);
    },
    { since: 6 },
  )
  .add("a drop ends the collection's stream by an invalidate event", "invalidate Event", async ({ client, db }) => {
    await rows(db).insertOne({ _id: 1 });
    const stream = await CommandStream.open(client, db, "rows");
    await rows(db).drop();
    const events = await stream.events(2);
    expect(events.map(({ operationType }) => operationType as string)).toEqual(["drop", "invalidate"]);
    expect(stream.cursorId.isZero()).toBe(true);
    const invalidate = events[1]?.["_id"] as Document;
    const refused = await failureOf(CommandStream.open(client, db, "rows", { resumeAfter: invalidate }));
    expect(refused?.code).toBe(260);
    const resumed = await CommandStream.open(client, db, "rows", { startAfter: invalidate });
    await rows(db).insertOne({ _id: 2 });
    expect(gist(await resumed.events(1))).toEqual([["insert", 2]]);
    await resumed.close();
  })
  .add(
    "the database's stream goes on after a drop and a rename, and tells the new name",
    "drop Event, rename Event",
    async (subject) => {
      const { db } = subject;
      await rows(db, "a").insertOne({ _id: 1 });
      await rows(db, "b").insertOne({ _id: 1 });
      const events = await eventsOf(subject, 4, async () => {
        await db.collection("a").drop();
        await db.collection("b").rename("a");
        await rows(db, "c").insertOne({ _id: 1 });
        await db.collection("c").rename("a", { dropTarget: true });
      });
      expect(
        events.map(({ operationType, ns, to }) => [
          operationType,
          (ns as Document)["coll"],
          (to as Document | undefined)?.["coll"],
        ]),
      ).toEqual([
        ["drop", "a", undefined],
        ["rename", "b", "a"],
        ["insert", "c", undefined],
        ["rename", "c", "a"],
      ]);
    },
  )
  .add(
    "a dropped database ends its stream, even where the match hides it",
    "dropDatabase Event, invalidate Event",
    async ({ client, db }) => {
      await rows(db).insertOne({ _id: 1 });
      const open = await CommandStream.open(client, db, null);
      const hiding = await CommandStream.open(client, db, null, {}, [{ $match: { "ns.coll": "other" } }]);
      await db.dropDatabase();
      expect((await open.events(3)).map(({ operationType }) => operationType as string)).toEqual([
        "drop",
        "dropDatabase",
        "invalidate",
      ]);
      expect(await hiding.events(1)).toEqual([]);
      expect(hiding.cursorId.isZero()).toBe(true);
      await open.close();
      await hiding.close();
    },
  )
  .add("a transaction's events share a time and its number", "Change Events, lsid and txnNumber", async (subject) => {
    const { client, db } = subject;
    await rows(db).insertOne({ _id: 0 });
    const events = await eventsOf(subject, 4, async () => {
      await client.withSession((session) =>
        session.withTransaction(async () => {
          await rows(db).insertMany([{ _id: 1 }, { _id: 2 }], { session });
          await rows(db).updateOne({ _id: 0 }, { $set: { a: 1 } }, { session });
        }),
      );
      await rows(db).insertOne({ _id: 3 });
    });
    expect(gist(events)).toEqual([
      ["insert", 1],
      ["insert", 2],
      ["update", 0],
      ["insert", 3],
    ]);
    const inside = events.slice(0, 3);
    expect(new Set(inside.map(({ clusterTime }) => String(clusterTime))).size).toBe(1);
    expect(new Set(inside.map(({ txnNumber }) => String(txnNumber))).size).toBe(1);
    expect(inside.every(({ lsid, txnNumber }) => lsid !== undefined && txnNumber !== undefined)).toBe(true);
    expect(events[3]).not.toHaveProperty("txnNumber");
  })
  .add("resuming inside a transaction gives its rest", "Resume a Change Stream", async (subject) => {
    const { client, db } = subject;
    await rows(db).insertOne({ _id: 0 });
    const events = await eventsOf(subject, 3, () =>
      client.withSession((session) =>
        session.withTransaction(() => rows(db).insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }], { session })),
      ),
    );
    const stream = await CommandStream.open(client, db, null, { resumeAfter: events[0]?.["_id"] as Document });
    expect(gist(await stream.events(2))).toEqual([
      ["insert", 2],
      ["insert", 3],
    ]);
    await stream.close();
  })
  .add("an aborted transaction is no event", "Transactions", async (subject) => {
    const { client, db } = subject;
    await rows(db).insertOne({ _id: 0 });
    const events = await eventsOf(subject, 1, async () => {
      const session = client.startSession();
      session.startTransaction();
      await rows(db).insertOne({ _id: 1 }, { session });
      await session.abortTransaction();
      await session.endSession();
      await rows(db).insertOne({ _id: 2 });
    });
    expect(gist(events)).toEqual([["insert", 2]]);
  })
  .add(
    "a token that can't be read is refused",
    "Resume a Change Stream; errors 9, 260, 40647 to 40649, 50811",
    async ({ client, db }) => {
      for (const token of [{ _data: "00112233" }, { _data: "not hex" }, { _data: "82" }, {}]) {
        const failure = await failureOf(CommandStream.open(client, db, null, { resumeAfter: token }));
        expect([2, 9, 260, 280, 40_647, 40_648, 40_649, 50_811]).toContain(failure?.code);
      }
    },
  )
  .add(
    "expanded events tell of collections and indexes",
    "$changeStream, showExpandedEvents (new in 6.0)",
    async (subject) => {
      const { db } = subject;
      const work = async (): Promise<void> => {
        await db.createCollection("made");
        await db.collection("made").createIndex({ a: 1 });
        await rows(db, "made").insertOne({ _id: 1 });
      };
      const events = await eventsOf(subject, 3, work, { showExpandedEvents: true });
      expect(events.map(({ operationType }) => operationType as string)).toEqual(["create", "createIndexes", "insert"]);
      expect(events[2]?.["collectionUUID"]).toBeDefined();
      expect(
        (await eventsOf(subject, 1, () => rows(db, "more").insertOne({ _id: 1 }))).map(
          ({ operationType }) => operationType as string,
        ),
      ).toEqual(["insert"]);
    },
    { since: 6 },
  )
  .add("a waiting getMore is woken by a write", "getMore, maxTimeMS", async ({ client, db }) => {
    await rows(db).insertOne({ _id: 0 });
    const stream = await CommandStream.open(client, db, null);
    while ((await stream.next(1)).length > 0) continue;
    const startedAt = performance.now();
    const waiting = stream.next(20_000);
    await rows(db).insertOne({ _id: 1 });
    expect(gist(await waiting)).toEqual([["insert", 1]]);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await stream.close();
  })
  .add("an empty getMore waits as long as it may", "getMore, maxTimeMS", async ({ client, db }) => {
    await rows(db).insertOne({ _id: 0 });
    const stream = await CommandStream.open(client, db, null);
    while ((await stream.next(1)).length > 0) continue;
    const startedAt = performance.now();
    expect(await stream.next(300)).toEqual([]);
    const waitedMs = performance.now() - startedAt;
    expect(waitedMs).toBeGreaterThan(200);
    expect(waitedMs).toBeLessThan(3_000);
    await stream.close();
  })
  .add("getMore keeps to its batch size", "getMore, batchSize", async ({ client, db }) => {
    const stream = await CommandStream.open(client, db, null);
    await rows(db).insertMany(Array.from({ length: 10 }, (_, _id) => ({ _id })));
    const sizes: number[] = [];
    for (let seen = 0; seen < 10;) {
      const { length } = await stream.next(500, 3);
      if (length > 0) sizes.push(length);
      seen += length;
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(3);
    await stream.close();
  })
  .add(
    "a large event comes in fragments where that is asked for, else fails",
    "$changeStreamSplitLargeEvent; error 10334 BSONObjectTooLarge",
    async (subject) => {
      const { client, db } = subject;
      await db.createCollection("rows", { changeStreamPreAndPostImages: { enabled: true } });
      await rows(db).insertOne({ _id: 1, text: "a".repeat(9 << 20) });
      const stage = { fullDocumentBeforeChange: "whenAvailable", fullDocument: "updateLookup" };
      const split = await CommandStream.open(client, db, null, stage, [{ $changeStreamSplitLargeEvent: {} }]);
      const plain = await CommandStream.open(client, db, null, stage);
      await rows(db).updateOne({ _id: 1 }, { $set: { text: "b".repeat(9 << 20) } });
      const fragments = await split.events(3);
      expect(fragments.length).toBeGreaterThan(1);
      expect(fragments.map(({ splitEvent }) => splitEvent as Document)).toEqual(
        fragments.map((_, index) => ({ fragment: index + 1, of: fragments.length })),
      );
      const whole = Object.assign({}, ...fragments) as Document;
      expect(whole["operationType"]).toBe("update");
      expect((whole["fullDocument"] as Document)["text"].length).toBe(9 << 20);
      const token = fragments[0]?.["_id"] as Document;
      await split.close();
      const resumed = await CommandStream.open(client, db, null, { ...stage, resumeAfter: token }, [
        { $changeStreamSplitLargeEvent: {} },
      ]);
      const rest = await resumed.events(fragments.length - 1);
      expect(rest[0]).toMatchObject({ splitEvent: { fragment: 2 } });
      await resumed.close();
      expect((await failureOf(plain.events(1)))?.code).toBe(10_334);
      await plain.close();
    },
    { since: 7 },
  )
  .add("a cluster-wide stream sees every database", "Change Streams, Watch a Deployment", async ({ client, db }) => {
    const admin = client.db("admin");
    const stages = [{ $match: { "ns.db": db.databaseName } }];
    const stream = await CommandStream.open(client, admin, null, { allChangesForCluster: true }, stages);
    await rows(db).insertOne({ _id: 1 });
    expect(gist(await stream.events(1))).toEqual([["insert", 1]]);
    await stream.close();
  })
  .add(
    "a change stream can't be read in another session than its own",
    "getMore, Considerations, Sessions; error 50738",
    async ({ client, db }) => {
      const stream = await CommandStream.open(client, db, null);
      const session = client.startSession();
      const command = { getMore: stream.cursorId, collection: "$cmd.aggregate", maxTimeMS: 1 };
      expect((await failureOf(db.command(command, { session })))?.code).toBe(50_738);
      await session.endSession();
      await stream.close();
      expect(stream.cursorId).toBeInstanceOf(Long);
    },
  )
  .declare();
