import { setTimeout as nextTurn } from "node:timers/promises";
import { Int32 } from "mongodb";
import { eventually } from "../test/support/eventually.ts";
import { openCache } from "../test/support/oracle.ts";
import type { TestSystem } from "../test/support/test-system.ts";
import { workloadEntity } from "../test/support/workload.ts";
import { type Measurement, median, msText, quantile } from "./print-table.ts";

/** Writes that are not counted: connections, statements and code get warm. */
const WARM_UP_WRITES = 30;

/** A write that is not seen by then is a failure of the run. */
const VISIBLE_DEADLINE_MS = 30_000;

/** A busy loop would take one of two CPUs from what it measures, which costs more than a millisecond (measured: 2 ms). */
const LOOK_INTERVAL_MS = 1;

/** Idle time between two writes, so that each finds everything at rest. */
const PAUSE_MS = 15;

/**
 * From the acknowledgement of a write to the row's being visible in the SQLite file, looked at every millisecond, and
 * to the event's arrival at a change stream of the driver in this process: the same writes, the same clock.
 */
export async function measureIdleLatency(system: TestSystem, writes: number): Promise<Measurement[]> {
  const entity = workloadEntity("quick", "quick");
  await system.collection("quick").insertOne({ _id: "before" as never, seq: new Int32(1) });
  await system.create(entity);
  await system.fence(entity);
  const arrivals = new Map<string, number>();
  const stream = system.collection("quick").watch();
  stream.on("change", (event) => {
    if (event.operationType === "insert") arrivals.set(String(event.documentKey._id), performance.now());
  });
  // The stream sees what comes after its cursor was opened, which nothing tells of: the first event does.
  let probes = 0;
  await eventually(
    async () => {
      probes += 1;
      await system.collection("quick").insertOne({ _id: `probe ${probes}` as never, seq: new Int32(1) });
      return arrivals.size > 0;
    },
    VISIBLE_DEADLINE_MS,
    "the driver's change stream tells of a write",
  );
  const database = openCache(system.cacheFile("quick"));
  const isThere = database.prepare("SELECT 1 FROM data WHERE id = ?");
  const cache: number[] = [];
  const source: number[] = [];
  try {
    for (let count = -WARM_UP_WRITES; count < writes; count += 1) {
      const id = `write ${count}`;
      await system.collection("quick").insertOne({ _id: id as never, seq: new Int32(1), name: "a name" });
      const acknowledged = performance.now();
      let visible: number | null = null;
      while (visible === null || !arrivals.has(id)) {
        if (visible === null && isThere.get(id) !== undefined) visible = performance.now();
        if (performance.now() - acknowledged > VISIBLE_DEADLINE_MS)
          throw new Error(`${id} did not arrive in ${visible === null ? "SQLite" : "the change stream"}`);
        await nextTurn(LOOK_INTERVAL_MS);
      }
      if (count >= 0) {
        cache.push(visible - acknowledged);
        source.push((arrivals.get(id) ?? Number.NaN) - acknowledged);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } finally {
    database.close();
    await stream.close();
  }
  const above = median(cache) - median(source);
  return [
    {
      what: `idle latency, acknowledged write to SQLite (${writes} writes), median`,
      value: msText(median(cache)),
      beside: `the source's own change stream: ${msText(median(source))}; ${msText(above)} above it (aim 10 ms)`,
    },
    {
      what: "the same, p99",
      value: msText(quantile(cache, 0.99)),
      beside: `the source's own change stream: ${msText(quantile(source, 0.99))}`,
    },
  ];
}
