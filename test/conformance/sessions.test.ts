import { BSON, type Document, Long, MongoClient, MongoServerError } from "mongodb";
import { expect } from "vitest";
import { BehaviourSuite, type Subject } from "./behaviour.ts";

type Row = { _id: number } & Document;

async function failureOf(work: Promise<unknown>): Promise<MongoServerError | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof MongoServerError) return error;
    throw error;
  }
}

/** A session whose numbers are the test's own, on a client of its own: the driver uses its sessions again. */
async function withNumbers(
  { client, db }: Subject,
  use: (run: (command: Document, txnNumber: number) => Promise<Document>) => Promise<void>,
): Promise<void> {
  const uri = `mongodb://${client.options.hosts.join(",")}/`;
  const replicaSet = client.options.replicaSet as string | undefined;
  const own = await MongoClient.connect(uri, replicaSet === undefined ? {} : { replicaSet });
  const session = own.startSession();
  try {
    await use((command, txnNumber) =>
      own.db(db.databaseName).command({ ...command, txnNumber: Long.fromNumber(txnNumber) }, { session }),
    );
  } finally {
    await session.endSession();
    await own.close();
  }
}

new BehaviourSuite("sessions and transactions")
  .add("a repeated retryable write is answered the same and done once", "Retryable Writes", (subject) =>
    withNumbers(subject, async (run) => {
      const { db } = subject;
      await db.collection<Row>("rows").insertOne({ _id: 1, count: 0 });
      const update = { update: "rows", updates: [{ q: { _id: 1 }, u: { $inc: { count: 1 } } }] };
      const first = await run(update, 1);
      const second = await run(update, 1);
      expect([first["n"], first["nModified"]]).toEqual([second["n"], second["nModified"]]);
      expect(await db.collection<Row>("rows").findOne()).toEqual({ _id: 1, count: 1 });
      const insert = { insert: "rows", documents: [{ _id: 2 }, { _id: 3 }] };
      await run(insert, 2);
      const repeated = await run(insert, 2);
      expect([repeated["n"], repeated["writeErrors"]]).toEqual([2, undefined]);
    }),
  )
  .add("an older number of a session is refused", "Retryable Writes; error 225 TransactionTooOld", (subject) =>
    withNumbers(subject, async (run) => {
      const insert = (_id: number): Document => ({ insert: "rows", documents: [{ _id }] });
      await run(insert(5), 5);
      expect((await failureOf(run(insert(4), 4)))?.code).toBe(225);
    }),
  )
  .add(
    "a transaction reads its own writes, and nobody else does before it commits",
    "Transactions, Read Concern",
    async ({ client, db }) => {
      const collection = db.collection<Row>("rows");
      await collection.insertOne({ _id: 1, a: 1 });
      const session = client.startSession();
      session.startTransaction();
      await collection.updateOne({ _id: 1 }, { $set: { a: 2 } }, { session });
      await collection.insertOne({ _id: 2 }, { session });
      expect(await collection.find({}, { session }).sort({ _id: 1 }).toArray()).toEqual([{ _id: 1, a: 2 }, { _id: 2 }]);
      expect(await collection.find().toArray()).toEqual([{ _id: 1, a: 1 }]);
      await session.commitTransaction();
      expect(await collection.countDocuments()).toBe(2);
      await session.endSession();
    },
  )
  .add("a transaction reads from its beginning's snapshot", 'Read Concern "snapshot"', async ({ client, db }) => {
    const collection = db.collection<Row>("rows");
    await collection.insertMany([{ _id: 1, a: 1 }, { _id: 2 }]);
    const session = client.startSession();
    session.startTransaction({ readConcern: { level: "snapshot" } });
    expect(await collection.findOne({ _id: 1 }, { session })).toEqual({ _id: 1, a: 1 });
    await collection.updateOne({ _id: 1 }, { $set: { a: 2 } });
    await collection.deleteOne({ _id: 2 });
    await collection.insertOne({ _id: 3 });
    expect(await collection.find({}, { session }).sort({ _id: 1 }).toArray()).toEqual([{ _id: 1, a: 1 }, { _id: 2 }]);
    await session.abortTransaction();
    await session.endSession();
  })
  .add(
    "of two transactions that write one document the second fails",
    "In-progress Transactions and Write Conflicts; error 112",
    async ({ client, db }) => {
      const collection = db.collection<Row>("rows");
      await collection.insertOne({ _id: 1, a: 0 });
      const [first, second] = [client.startSession(), client.startSession()];
      first.startTransaction();
      second.startTransaction();
      await collection.updateOne({ _id: 1 }, { $inc: { a: 1 } }, { session: first });
      const failure = await failureOf(collection.updateOne({ _id: 1 }, { $inc: { a: 1 } }, { session: second }));
      expect(failure?.code).toBe(112);
      expect(failure?.hasErrorLabel("TransientTransactionError")).toBe(true);
      await first.commitTransaction();
      expect(await collection.findOne()).toEqual({ _id: 1, a: 1 });
      await second.abortTransaction().catch(() => "it is aborted already");
      await Promise.all([first.endSession(), second.endSession()]);
    },
  )
  .add(
    "a write outside waits for the transaction that holds its document",
    "In-progress Transactions and Write Conflicts",
    async ({ client, db }) => {
      const collection = db.collection<Row>("rows");
      await collection.insertOne({ _id: 1, a: 0 });
      const session = client.startSession();
      session.startTransaction();
      await collection.updateOne({ _id: 1 }, { $set: { a: 1 } }, { session });
      let isDone = false;
      const outside = collection.updateOne({ _id: 1 }, { $inc: { a: 10 } }).then(() => {
        isDone = true;
      });
      // A round trip on another connection, so that the update has arrived.
      await db.command({ ping: 1 });
      expect(isDone).toBe(false);
      await session.commitTransaction();
      await outside;
      expect(await collection.findOne()).toEqual({ _id: 1, a: 11 });
      await session.endSession();
    },
  )
  .add("a commit may be repeated", "Transactions, retry commit", async ({ client, db }) => {
    const collection = db.collection<Row>("rows");
    await collection.insertOne({ _id: 1 });
    const session = client.startSession();
    session.startTransaction();
    await collection.insertOne({ _id: 2 }, { session });
    await session.commitTransaction();
    await session.commitTransaction();
    expect(await collection.countDocuments()).toBe(2);
    await session.endSession();
  })
  .add(
    "a failed write ends its transaction",
    "Transactions, error handling; error 251 NoSuchTransaction",
    async ({ client, db }) => {
      const collection = db.collection<Row>("rows");
      await collection.insertOne({ _id: 1 });
      const session = client.startSession();
      session.startTransaction();
      await collection.insertOne({ _id: 5 }, { session });
      expect((await failureOf(collection.insertOne({ _id: 1 }, { session })))?.code).toBe(11_000);
      const failure = await failureOf(collection.insertOne({ _id: 6 }, { session }));
      expect(failure?.code).toBe(251);
      await session.abortTransaction().catch(() => "it is aborted already");
      expect(await collection.countDocuments()).toBe(1);
      await session.endSession();
    },
  )
  .add("a session's id may be any UUID", "Server Sessions", async ({ db }) => {
    const lsid = { id: new BSON.UUID() };
    expect((await db.command({ ping: 1, lsid }))["ok"]).toBe(1);
    expect((await db.command({ endSessions: [lsid] }))["ok"]).toBe(1);
  })
  .declare();
