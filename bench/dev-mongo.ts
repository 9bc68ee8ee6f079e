import { type Long, MongoClient } from "mongodb";
import { startDevMongo } from "./dev-mongo-process.ts";
import { cpuMs, machine } from "./machine.ts";
import { printTable } from "./print-table.ts";
import { ReplyCounter } from "./reply-counter.ts";

/**
 * `node bench/dev-mongo.ts`: how fast the development server feeds a scan and a change stream to a reader that takes
 * whole replies off the socket. Aim: 300,000 documents/s and 150,000 events/s of 350-byte documents, so that it is
 * never what another benchmark measures. `EMCACHE_BENCH_ROWS` (200,000) sets the size.
 */
const DOCUMENT_BYTES = 350;
const INSERT_BATCH = 10_000;
/** Documents a reply: as many as EMCache's capture asks for. */
const REPLY_DOCUMENTS = 10_000;
const ROUNDS = 3;

async function main(): Promise<void> {
  const rows = Number(process.env["EMCACHE_BENCH_ROWS"] ?? 200_000);
  // The whole history is read again in each round.
  const server = await startDevMongo(2_048);
  try {
    const { uri } = server;
    const client = await MongoClient.connect(uri);
    const token = await openToken(client);
    const insertS = await timed(() => insertRows(client, rows));
    await client.close();
    const scans: string[] = [];
    const streams: string[] = [];
    const rate = async (work: () => Promise<void>): Promise<string> => {
      const cpuBefore = cpuMs(server.pid);
      const seconds = await timed(work);
      const cpuUs = ((cpuMs(server.pid) - cpuBefore) * 1_000) / rows;
      return `${Math.round(rows / seconds).toLocaleString("en")} (${cpuUs.toFixed(1)} µs)`;
    };
    for (let round = 0; round < ROUNDS; round++) {
      scans.push(await rate(() => scan(uri)));
      // The first reader has the events made, the later ones share them.
      streams.push(await rate(() => follow(uri, token, rows)));
    }
    printTable([
      ...machine(),
      {
        what: "inserts/s by the driver",
        value: Math.round(rows / insertS).toLocaleString("en"),
        beside: `${INSERT_BATCH} a command`,
      },
      { what: "scan, documents/s (server's CPU a document)", value: scans.join(", "), beside: "aim 300,000" },
      {
        what: "stream, events/s (server's CPU an event)",
        value: streams.join(", "),
        beside: "aim 150,000; the first reader has the events made",
      },
    ]);
  } finally {
    server.stop();
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return (performance.now() - startedAt) / 1000;
}

async function openToken(client: MongoClient): Promise<unknown> {
  const reply = await client.db("bench").command({ aggregate: 1, pipeline: [{ $changeStream: {} }], cursor: {} });
  return (reply["cursor"] as { postBatchResumeToken: unknown }).postBatchResumeToken;
}

async function insertRows(client: MongoClient, rows: number): Promise<void> {
  const collection = client.db("bench").collection<{ _id: number; text: string }>("rows");
  const text = "x".repeat(DOCUMENT_BYTES - 60);
  for (let from = 0; from < rows; from += INSERT_BATCH) {
    const documents = Array.from({ length: Math.min(INSERT_BATCH, rows - from) }, (_, index) => ({
      _id: from + index,
      name: `row ${from + index}`,
      seq: index,
      text,
    }));
    await collection.insertMany(documents, { ordered: true });
  }
}

async function scan(uri: string): Promise<void> {
  const reader = await ReplyCounter.connect(uri);
  const find = { find: "rows", filter: {}, sort: { _id: 1 }, batchSize: REPLY_DOCUMENTS, $db: "bench" };
  let id = await reader.cursorCommand(find);
  while (!id.isZero()) {
    id = await reader.cursorCommand({ getMore: id, collection: "rows", batchSize: REPLY_DOCUMENTS, $db: "bench" });
  }
  reader.close();
}

/** The pipeline of EMCache's capture, from before the first insert. */
async function follow(uri: string, token: unknown, rows: number): Promise<void> {
  const reader = await ReplyCounter.connect(uri);
  const pipeline = [
    { $changeStream: { resumeAfter: token } },
    { $match: { $or: [{ "ns.coll": { $in: ["rows"] } }, { "to.coll": { $in: ["rows"] } }] } },
    { $unset: "updateDescription" },
  ];
  const command = { aggregate: 1, pipeline, cursor: { batchSize: REPLY_DOCUMENTS }, $db: "bench" };
  const id: Long = await reader.cursorCommand(command);
  for (let seen = REPLY_DOCUMENTS; seen < rows; seen += REPLY_DOCUMENTS) {
    const getMore = {
      getMore: id,
      collection: "$cmd.aggregate",
      batchSize: REPLY_DOCUMENTS,
      maxTimeMS: 1_000,
      $db: "bench",
    };
    await reader.cursorCommand(getMore);
  }
  reader.close();
}

await main();
