import { eventually } from "../test/support/eventually.ts";
import type { TestSystem } from "../test/support/test-system.ts";
import { Workload, workloadEntity } from "../test/support/workload.ts";
import { cpuMs, cpuText } from "./machine.ts";
import { type Measurement, median, perSecond, rateText } from "./print-table.ts";

const DEADLINE_MS = 600_000;

/**
 * Rows a second from the creation of an entity until its first copy is served, against the same driver reading the
 * same collection to nothing, one after the other in each round.
 */
export async function measureCopy(
  system: TestSystem,
  { rows, rounds }: { readonly rows: number; readonly rounds: number },
): Promise<Measurement[]> {
  const collection = system.collection("copied");
  await new Workload(collection, { seed: 1, clients: 2, bulkSize: 1_000 }).write("insert", rows);
  const entity = workloadEntity("copied", "copied");
  const copyRates: number[] = [];
  const readRates: number[] = [];
  const cpuUsedMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    readRates.push(await readToNothing(system));
    const cpuBefore = cpuMs(system.emcache.process.pid);
    const begin = performance.now();
    await system.api.createEntity(entity);
    await system.api.waitUntilLive(entity.name, DEADLINE_MS);
    cpuUsedMs.push(cpuMs(system.emcache.process.pid) - cpuBefore);
    copyRates.push(perSecond(rows, performance.now() - begin));
    await system.api.call("DELETE", `/api/entities/${entity.name}`);
    await eventually(
      () =>
        system.api.entity(entity.name).then(
          () => false,
          () => true,
        ),
      10_000,
      "the entity is gone",
    );
  }
  const ratios = copyRates.map((rate, round) => rate / (readRates[round] ?? Number.NaN));
  return [
    {
      what: `copy of ${rows.toLocaleString("en-US")} documents of 350 bytes`,
      value: `${rateText(median(copyRates))}; ${cpuText(median(cpuUsedMs), rows)}`,
      beside:
        `the driver reading them to nothing: ${rateText(median(readRates))}; ` +
        `ratio ${median(ratios).toFixed(2)} (${ratios.map((ratio) => ratio.toFixed(2)).join(", ")}; aim 0.7)`,
    },
  ];
}

/** Sorted by `_id`, as a copy that can be resumed must read; raw, as the copy reads. */
async function readToNothing(system: TestSystem): Promise<number> {
  const begin = performance.now();
  let count = 0;
  const cursor = system
    .collection("copied")
    .find({}, { raw: true, batchSize: 10_000, sort: { _id: 1 }, readConcern: "majority" });
  for await (const document of cursor) if (document !== null) count += 1;
  return perSecond(count, performance.now() - begin);
}
