import { Int32 } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import { eventually } from "../support/eventually.ts";
import { SeededRandom, seedOfRun } from "../support/seeded-random.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { GENERATION, Workload, workloadEntity } from "../support/workload.ts";

/** A copy of some seconds, so that what happens meanwhile is much. */
const COPY_ROWS_PER_S = 1_500;

const TEST_TIMEOUT_MS = 600_000;

/** Faults whose danger is old news: a state that was read before what the log already shows. */
const folder = useTestFolder("stale-news");
const seed = seedOfRun();

describe.each(FAULT_SOURCES)("on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    console.log(`stale news: seed ${seed} (EMCACHE_TEST_SEED=${seed} repeats it)`);
    system = await startFaultSystem(source, { folder, settings: { "copy.rows_per_s_max": COPY_ROWS_PER_S } });
  });

  afterAll(async () => {
    await system.dispose();
  });

  /** Does it again and again until the entity's first copy is complete, and at least `count` times in all. */
  async function duringCopy(entity: string, count: number, act: (number: number) => Promise<void>): Promise<number> {
    let duringCopyCount = 0;
    for (let number = 0; number < count; number += 1) {
      await act(number);
      if ((await system.api.entity(entity)).state !== "live") duringCopyCount += 1;
    }
    return duringCopyCount;
  }

  test(
    "fault 4: invariant 4: linear history per document: what is deleted during its copy stays deleted",
    async () => {
      const count = faultRepeats({ short: 200, full: 1_000 });
      const entity = workloadEntity("deleted", "deleted");
      const documents = Math.max(3_000, count * 4);
      await new Workload(system.collection("deleted"), { seed, clients: 1, bulkSize: 1_000 }).write(
        "insert",
        documents,
      );
      await system.api.createEntity(entity);
      const random = new SeededRandom(seed);
      const gone = new Set<number>();
      // Ten at a time, near each other: some just before the copy's cursor reads them, some just after.
      const during = await duringCopy("deleted", count / 10, async () => {
        const from = random.integer(0, documents - 10);
        const ids = Array.from({ length: 10 }, (_, index) => from + index);
        for (const id of ids) gone.add(id);
        await system.collection("deleted").deleteMany({ _id: { $in: ids } } as never);
      });
      expect(during).toBeGreaterThan(0);
      await system.api.waitUntilLive("deleted", TEST_TIMEOUT_MS);
      const comparison = await system.expectEqual(entity);
      expect(comparison.rows).toBe(documents - gone.size + 1);
      await system.expectLinearHistory("deleted");
      reportFault({ fault: 4, title: "deleted while copied", source, injected: during * 10, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "fault 5: invariant 4: linear history per document: one document updated all the time during its copy",
    async () => {
      const count = faultRepeats({ short: 300, full: 1_000 });
      const entity = workloadEntity("updated", "updated");
      const documents = 6_000;
      const workload = new Workload(system.collection("updated"), { seed, clients: 1, bulkSize: 1_000 });
      await workload.write("insert", documents);
      await system.api.createEntity(entity);
      // In the middle of the copy's order: it is touched before it is read, while it is held, and afterwards.
      const _id = new Int32(documents / 2) as never;
      let begun = 0;
      const update = async (): Promise<void> => {
        begun += 1;
        await system.collection("updated").updateOne({ _id }, { $inc: { seq: 1 } });
      };
      const during = await duringCopy("updated", count, update);
      await system.api.waitUntilLive("updated", TEST_TIMEOUT_MS);
      await system.expectEqual(entity);
      const history = await system.expectLinearHistory("updated");
      expect(history.copyRows).toBeGreaterThan(documents / 2);
      expect(during).toBeGreaterThan(count / 10);
      expect((await system.collection("updated").findOne({ _id }))?.["seq"]).toBe(GENERATION + begun);
      reportFault({ fault: 5, title: "updated while copied", source, injected: count, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "fault 26: invariant 4: linear history per document: updated, replaced and updated in one burst",
    async () => {
      const bursts = faultRepeats({ short: 100, full: 1_000 });
      const entity = workloadEntity("burst", "burst");
      const collection = system.collection("burst");
      await new Workload(collection, { seed, bulkSize: 20 }).write("insert", 20);
      await system.create(entity);
      const random = new SeededRandom(seed + 1);
      const seqs = new Map<number, number>();
      for (let burst = 0; burst < bursts; burst += 1) {
        const id = random.integer(0, 19);
        const seq = (seqs.get(id) ?? GENERATION) + 3;
        seqs.set(id, seq);
        const filter = { _id: new Int32(id) } as never;
        // The replacement's event carries its document, and comes between two whose state is looked up.
        await collection.bulkWrite([
          { updateOne: { filter, update: { $set: { seq: new Int32(seq - 2) } } } },
          { replaceOne: { filter, replacement: { seq: new Int32(seq - 1), name: `burst ${burst}` } } },
          { updateOne: { filter, update: { $set: { seq: new Int32(seq) } } } },
        ]);
      }
      await system.expectEqual(entity);
      const history = await system.expectLinearHistory("burst");
      expect(history.streamRows).toBeGreaterThan(20);
      await eventually(
        async () => (await system.api.entity("burst")).lag_entries === 0,
        30_000,
        "the cache holds all of the log",
      );
      reportFault({ fault: 26, title: "bursts on one document", source, injected: bursts, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );
});
