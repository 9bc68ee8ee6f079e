import { Int32 } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { startDevMongoSystem } from "../support/fault-system.ts";
import { seedOfRun } from "../support/seeded-random.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { GENERATION, Workload, workloadEntity } from "../support/workload.ts";

const RECOVERY_DEADLINE_MS = 60_000;
const TEST_TIMEOUT_MS = 900_000;

/** Elections of the source. Only dev-mongo has them at command; MongoDB manual, "Replica Set Elections". */
const folder = useTestFolder("failover");
let system: Awaited<ReturnType<typeof startDevMongoSystem>>;

beforeAll(async () => {
  system = await startDevMongoSystem({ folder, settings: { "copy.rows_per_s_max": 4_000 } });
});

afterAll(async () => {
  await system.dispose();
});

test(
  "fault 6: step-downs of the primary under load: nothing lost, no document back in time",
  async () => {
    const count = faultRepeats({ short: 4, full: 20 });
    const seed = seedOfRun();
    console.log(`failover: seed ${seed} (EMCACHE_TEST_SEED=${seed} repeats it)`);
    const workload = new Workload(system.collection("elected"), { seed, bulkSize: 40, isErrorExpected: true });
    await workload.write("insert", 3_000);
    const entity = workloadEntity("elected", "elected");
    await system.api.createEntity(entity);
    for (let round = 1; round <= count; round += 1) {
      const stop = new AbortController();
      const writing = workload.writeUntil(stop.signal);
      const position = (await system.api.entity("elected")).position ?? 0;
      // In the middle of the copy in the first rounds, of the stream later: the log has just grown.
      await eventually(
        async () => ((await system.api.entity("elected")).position ?? 0) > position,
        RECOVERY_DEADLINE_MS,
        "the log grows",
      );
      const begin = performance.now();
      await system.mongo.development.fault("stepDown", { durationMs: 300 });
      const positionThen = (await system.api.entity("elected")).position ?? 0;
      await eventually(
        async () => ((await system.api.entity("elected")).position ?? 0) > positionThen + 100,
        RECOVERY_DEADLINE_MS,
        "the log grows again",
      );
      console.log(`failover: step-down ${round}: goes on after ${Math.round(performance.now() - begin)} ms`);
      stop.abort();
      await writing;
      await workload.settle();
    }
    await system.api.waitUntilLive("elected", RECOVERY_DEADLINE_MS);
    await system.expectEqual(entity, RECOVERY_DEADLINE_MS);
    const history = await system.expectLinearHistory("elected");
    expect(history.rows).toBeGreaterThan(3_000);
    // What a token is good for: no step-down may cost a new copy.
    expect(system.emcache.logLines().filter(({ event }) => event === "history_lost")).toEqual([]);
    reportFault({ fault: 6, title: "step-down", source: "dev-mongo", injected: count, lost: 0, skipped: null });
  },
  TEST_TIMEOUT_MS,
);

// MongoDB manual, "Rollbacks During Replica Set Failover": writes that no majority had are undone.
test(
  "fault 7: what a failover rolls back is never visible",
  async () => {
    const count = faultRepeats({ short: 4, full: 20 });
    const collection = system.collection("rolled");
    const workload = new Workload(collection, { seed: 7, bulkSize: 20, isErrorExpected: true });
    await workload.write("insert", 200);
    const entity = workloadEntity("rolled", "rolled");
    await system.create(entity);
    const unsafe = { writeConcern: { w: 1 as const } };
    for (let round = 1; round <= count; round += 1) {
      await workload.write("mixed", 60);
      await system.fence(entity);
      // From here on no majority has what is written; look-ups by majority must not see it either.
      await system.mongo.development.fault("holdStreams");
      const seq = new Int32(GENERATION * 1_000 + round);
      const victims = await collection.find({}, { projection: { _id: 1 }, limit: 12 }).toArray();
      const ids = victims.map(({ _id }) => _id);
      for (const _id of ids.slice(0, 4)) await collection.updateOne({ _id }, { $set: { seq } }, unsafe);
      for (const _id of ids.slice(4, 8)) await collection.replaceOne({ _id }, { seq }, unsafe);
      for (const _id of ids.slice(8, 12)) await collection.deleteOne({ _id }, unsafe);
      await collection.insertOne({ _id: `rolled-${round}` as never, seq }, unsafe);
      // An entity's copy that begins now must not see them.
      const late = workloadEntity(`rolled_${round}`, "rolled");
      await system.api.createEntity(late);
      await eventually(
        async () => (await system.api.entity(late.name)).state !== "failed",
        RECOVERY_DEADLINE_MS,
        "the late entity is known",
      );
      await system.mongo.development.fault("rollBack", { writes: 13 });
      await eventually(
        async () => (await collection.countDocuments({ _id: `rolled-${round}` as never })) === 0,
        RECOVERY_DEADLINE_MS,
        "the writes are rolled back",
      );
      await system.mongo.development.fault("releaseStreams");
      await system.expectEqual(entity, RECOVERY_DEADLINE_MS);
      await system.api.waitUntilLive(late.name, RECOVERY_DEADLINE_MS);
      await system.expectEqual(late, RECOVERY_DEADLINE_MS);
      for (const name of ["rolled", late.name]) expect(await seqsFrom(name, GENERATION * 1_000)).toEqual([]);
      await system.api.call("DELETE", `/api/entities/${late.name}`);
    }
    await system.expectLinearHistory("rolled");
    reportFault({ fault: 7, title: "rollback", source: "dev-mongo", injected: count, lost: 0, skipped: null });
  },
  TEST_TIMEOUT_MS,
);

/** Rows of an entity's log that show a `seq` from `least` on, as text. */
async function seqsFrom(entity: string, least: number): Promise<string[]> {
  const found: string[] = [];
  for (let after = 0, hasMore = true; hasMore;) {
    const page = await system.api.call<{
      entries: { doc_id: string; data: readonly unknown[] | null }[];
      position: number;
      has_more: boolean;
    }>("GET", `/api/oplogs/${entity}?limit=10000&after=${after}`);
    for (const { doc_id, data } of page.entries)
      if (Number(data?.[0]) >= least) found.push(`${doc_id}: ${JSON.stringify(data)}`);
    after = page.position;
    hasMore = page.has_more;
  }
  return found;
}
