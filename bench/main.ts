import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeTestFolder } from "../test/support/test-folder.ts";
import { TestSystem } from "../test/support/test-system.ts";
import { startDevMongo } from "./dev-mongo-process.ts";
import { measureCopy } from "./measure-copy.ts";
import { measureIdleLatency } from "./measure-latency.ts";
import { measureStream } from "./measure-stream.ts";
import { machine, memoryPeaks } from "./machine.ts";
import { printTable } from "./print-table.ts";

/**
 * `npm run bench`: the whole path, as a user runs it, on SecantusDB or the server of `EMCACHE_TEST_MONGO_URI`. Every
 * rate stands beside what the source itself gives in the same run, because a shared machine's speed drifts.
 *
 * With the argument `dev-mongo` the source is dev-mongo in a process of its own, which is many times faster than
 * EMCache: then the pipeline itself is what is measured.
 *
 * `EMCACHE_BENCH_ROWS` (100,000), `EMCACHE_BENCH_ROUNDS` (3), `EMCACHE_BENCH_WRITES` (500) set the sizes.
 */
async function main(source: string | undefined): Promise<void> {
  if (source === undefined) return measure();
  if (source !== "dev-mongo") throw new Error(`${source} is not a source; give dev-mongo, or nothing`);
  const server = await startDevMongo(1_024);
  process.env["EMCACHE_TEST_MONGO_URI"] = server.uri;
  try {
    await measure();
  } finally {
    server.stop();
  }
}

async function measure(): Promise<void> {
  const rows = sizeOf("EMCACHE_BENCH_ROWS", 100_000);
  const rounds = sizeOf("EMCACHE_BENCH_ROUNDS", 3);
  const writes = sizeOf("EMCACHE_BENCH_WRITES", 500);
  const folder = makeTestFolder("bench");
  const settings = { "logging.level": "info", "snapshot.min_lag": 1_000_000_000 };
  const system = await TestSystem.start({ folder: join(folder), settings });
  try {
    const latency = await measureIdleLatency(system, writes);
    const copy = await measureCopy(system, { rows, rounds });
    const stream = await measureStream(system, Math.floor(rows / 2));
    const peaks = memoryPeaks(system.emcache);
    printTable([...machine(), ...latency, ...copy, ...stream, ...peaks]);
  } finally {
    await system.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}

function sizeOf(variable: string, standard: number): number {
  const given = process.env[variable];
  if (given === undefined) return standard;
  const size = Number(given);
  if (!Number.isInteger(size) || size < 1)
    throw new Error(`${variable} is ${given}; it must be a whole number above 0`);
  return size;
}

await main(process.argv[2]);
