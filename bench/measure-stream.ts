import type { ResumeToken } from "mongodb";
import { eventually } from "../test/support/eventually.ts";
import { openCache, readMetadata } from "../test/support/oracle.ts";
import type { TestSystem } from "../test/support/test-system.ts";
import { Workload, workloadEntity } from "../test/support/workload.ts";
import { cpuMs, cpuText } from "./machine.ts";
import { type Measurement, perSecond, rateText } from "./print-table.ts";

const DEADLINE_MS = 600_000;

/** Changes that pass before the rate is measured: the start of the process is not the stream's speed. */
const WARM_UP_SHARE = 0.1;

/**
 * Changes a second that reach SQLite when the stream has a backlog (inserts, updates, deletes that came while EMCache
 * was stopped), against a change stream of the driver over the same backlog to nothing.
 */
export async function measureStream(system: TestSystem, changes: number): Promise<Measurement[]> {
  const collection = system.collection("streamed");
  const workload = new Workload(collection, { seed: 2, clients: 2, bulkSize: 1_000 });
  await workload.write("insert", 100);
  const entity = workloadEntity("streamed", "streamed");
  await system.create(entity);
  await system.fence(entity);
  const token = await currentToken(system);
  await system.emcache.stop();

  const begin = performance.now();
  await workload.write("insert", Math.floor(changes * 0.6));
  await workload.write("update", Math.floor(changes * 0.3));
  await workload.write("delete", Math.floor(changes * 0.1));
  const writeRate = perSecond(changes, performance.now() - begin);
  await collection.insertOne({ _id: "end" as never });
  const sourceRate = await streamToNothing(system, token);

  const positionBefore = positionOf(system);
  await system.emcache.restart();
  const first = await eventually(
    () => {
      const position = positionOf(system);
      return position - positionBefore > changes * WARM_UP_SHARE
        ? { position, atMs: performance.now(), cpuMs: cpuMs(system.emcache.process.pid) }
        : null;
    },
    DEADLINE_MS,
    "the first tenth of the backlog is in SQLite",
  );
  await system.waitForRow(entity.name, "end", DEADLINE_MS);
  const applied = positionOf(system) - first.position;
  const rate = perSecond(applied, performance.now() - first.atMs);
  const cpuUsedMs = cpuMs(system.emcache.process.pid) - first.cpuMs;
  return [
    {
      what: `stream, a backlog of ${changes.toLocaleString("en-US")} changes`,
      value: `${rateText(rate)}; ${cpuText(cpuUsedMs, applied)}`,
      beside:
        `a change stream of the driver over it, to nothing: ${rateText(sourceRate)}, ratio ${(rate / sourceRate).toFixed(2)}; ` +
        `the source took the writes at ${rateText(writeRate)}`,
    },
  ];
}

function positionOf(system: TestSystem): number {
  const database = openCache(system.cacheFile("streamed"));
  const { position } = readMetadata(database);
  database.close();
  return position;
}

/** Where the stream of the collection is now. */
async function currentToken(system: TestSystem): Promise<ResumeToken> {
  const stream = system.collection("streamed").watch();
  try {
    // The cursor is opened by the first look; from there on every event has a token.
    await stream.tryNext();
    await system.collection("streamed").insertOne({ _id: "token" as never });
    return (await stream.next())._id;
  } finally {
    await stream.close();
  }
}

async function streamToNothing(system: TestSystem, token: ResumeToken): Promise<number> {
  const options = { resumeAfter: token, batchSize: 10_000, fullDocument: "updateLookup" } as const;
  const stream = system.mongo.database.watch([], options);
  const begin = performance.now();
  let count = 0;
  try {
    for (;;) {
      const event = await stream.next();
      count += 1;
      if (event.operationType === "insert" && (event.documentKey._id as unknown) === "end") break;
    }
    return perSecond(count, performance.now() - begin);
  } finally {
    await stream.close();
  }
}
