import { afterAll, beforeAll, expect, test } from "vitest";
import { useTestFolder } from "./support/use-test-folder.ts";
import { scaled, testScale } from "./support/test-scale.ts";
import { TestSystem } from "./support/test-system.ts";
import { Workload, type WorkloadCounts, workloadEntity } from "./support/workload.ts";

/** What waits for a whole phase; at full size the source alone needs minutes. */
const DEADLINE_MS = 900_000;

const folder = useTestFolder("load");
let system: TestSystem;

beforeAll(async () => {
  // The log must stay whole for the check of its history.
  system = await TestSystem.start({ folder, settings: { "logging.level": "info", "snapshot.min_lag": 1_000_000_000 } });
});

afterAll(async () => {
  await system.dispose();
});

test(
  "invariant 4: linear history per document, under full load",
  async () => {
    const entity = workloadEntity("load", "load");
    const collection = system.collection("load");
    const workload = new Workload(collection, { seed: 4, clients: 2, bulkSize: 1_000 });
    report(`scale ${testScale()}: ${scaled(200_000)} documents (EMCACHE_TEST_SCALE=full for 200,000)`);

    await measured("filling the source", scaled(200_000), () => workload.write("insert", scaled(200_000)));

    await system.api.createEntity(entity);
    const stop = new AbortController();
    const before = total(workload.counts);
    const writing = workload.writeUntil(stop.signal);
    const copyBegin = performance.now();
    await system.api.waitUntilLive(entity.name, DEADLINE_MS);
    const copySeconds = (performance.now() - copyBegin) / 1_000;
    stop.abort();
    await writing;
    const written = total(workload.counts) - before;
    report(
      `copied ${scaled(200_000)} documents in ${copySeconds.toFixed(1)} s (${rate(scaled(200_000), copySeconds)}) ` +
        `while the source took ${written} writes (${rate(written, copySeconds)})`,
    );
    expect(written).toBeGreaterThan(0);

    await measured("inserts", scaled(50_000), () => workload.write("insert", scaled(50_000)));
    await measured("updates", scaled(50_000), () => workload.write("update", scaled(50_000)));
    await measured("deletes", scaled(10_000), () => workload.write("delete", scaled(10_000)));
    await measured("until all of it is in the cache", 1, () => system.fence(entity, DEADLINE_MS));

    const comparison = await system.expectEqualNow(entity);
    const history = await system.expectLinearHistory(entity.name, { isGapless: true });
    report(
      `equal: ${comparison.rows} rows; ${history.rows} log rows (${history.copyRows} of the copy), none going back in time`,
    );
    expect(comparison.rows).toBe(workload.documentCount + 1);
  },
  DEADLINE_MS,
);

test(
  "invariant 4: linear history per document, of documents that change all the time",
  async () => {
    const entity = workloadEntity("hot", "hot");
    const collection = system.collection("hot");
    // Small bulks on few documents: a looked-up state is often newer than the next events of its document.
    const workload = new Workload(collection, { seed: 5, clients: 4, bulkSize: 3, idsMax: 12 });
    await system.create(entity);
    await measured("changes of 12 documents", 3_000, () => workload.write("mixed", 3_000));
    await system.expectEqual(entity, DEADLINE_MS);
    const history = await system.expectLinearHistory(entity.name);
    report(`${history.rows} log rows of 12 documents, none going back in time`);
  },
  DEADLINE_MS,
);

async function measured(what: string, documents: number, work: () => Promise<unknown>): Promise<void> {
  const begin = performance.now();
  await work();
  const seconds = (performance.now() - begin) / 1_000;
  report(`${what}: ${seconds.toFixed(1)} s${documents > 1 ? ` (${rate(documents, seconds)})` : ""}`);
}

function rate(count: number, seconds: number): string {
  return `${Math.round(count / seconds)}/s`;
}

function total({ inserts, updates, replaces, deletes }: WorkloadCounts): number {
  return inserts + updates + replaces + deletes;
}

function report(text: string): void {
  console.log(`load: ${text}`);
}
