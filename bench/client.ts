import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { openCache } from "@emcache/client";
import { makeTestFolder } from "../test/support/test-folder.ts";
import { TestSystem } from "../test/support/test-system.ts";
import { Workload, workloadEntity } from "../test/support/workload.ts";
import { startDevMongo } from "./dev-mongo-process.ts";
import { machine, memoryPeaks } from "./machine.ts";
import { type Measurement, median, msText, printTable, quantile } from "./print-table.ts";

/**
 * `node bench/client.ts`: clients of a whole EMCache (on dev-mongo in a process of its own), on one machine. A cold
 * start from the snapshot until live, beside the same download read to nothing; from an acknowledged write to its
 * being told by `subscribe`; many clients at once, of a twentieth of the rows each; peak memory of both sides.
 *
 * `EMCACHE_BENCH_ROWS` (1,000,000), `EMCACHE_BENCH_CLIENTS` (50), `EMCACHE_BENCH_WRITES` (200) set the sizes.
 */
const ROWS = Number(process.env["EMCACHE_BENCH_ROWS"] ?? 1_000_000);
const CLIENTS = Number(process.env["EMCACHE_BENCH_CLIENTS"] ?? 50);
const WRITES = Number(process.env["EMCACHE_BENCH_WRITES"] ?? 200);
/** Clients in one process, so that not all of their memory is Node's own. */
const CLIENTS_A_PROCESS = 10;
const DEADLINE_MS = 900_000;
const MEBIBYTE = 2 ** 20;

interface ClientResult {
  readonly openMs: number;
  readonly liveMs: number;
  readonly peakKiB: number;
  readonly rows: number;
}

const mongo = await startDevMongo(1_024);
process.env["EMCACHE_TEST_MONGO_URI"] = mongo.uri;
const folder = makeTestFolder("bench-client");
const settings = { "logging.level": "info" };
const system = await TestSystem.start({ folder, settings });
try {
  await prepare("many", ROWS);
  await prepare("few", Math.max(1, Math.floor(ROWS / 20)));
  const rows = [...(await coldStart()), ...(await latency()), ...(await together()), ...memoryPeaks(system.emcache)];
  printTable([...machine(), ...rows]);
} finally {
  await system.dispose();
  mongo.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function prepare(name: string, rows: number): Promise<void> {
  await new Workload(system.collection(name), { seed: 1, clients: 2, bulkSize: 1_000 }).write("insert", rows);
  await system.create(workloadEntity(name, name), DEADLINE_MS);
  await system.api.call("POST", `/api/snapshots/${name}`);
}

async function coldStart(): Promise<Measurement[]> {
  const plain = await readToNothing("many");
  const stored = await readToNothing("many", "zstd");
  const result = await runClients("many", 1, "cold");
  const rate = plain.bytes / MEBIBYTE / (result.liveMs / 1000);
  return [
    {
      what: `cold start of ${result.rows.toLocaleString("en-US")} rows (${Math.round(plain.bytes / MEBIBYTE)} MiB) until live`,
      value: `${(result.liveMs / 1000).toFixed(1)} s; ${rate.toFixed(0)} MiB/s`,
      beside:
        `the file read to nothing: ${(plain.ms / 1000).toFixed(1)} s; ` +
        `as it is sent (${Math.round(stored.bytes / MEBIBYTE)} MiB): ${(stored.ms / 1000).toFixed(1)} s`,
    },
    {
      what: "from readable to live",
      value: msText(result.liveMs - result.openMs),
      beside: `peak memory of the client ${Math.round(result.peakKiB / 1024)} MiB`,
    },
  ];
}

async function latency(): Promise<Measurement[]> {
  await using cache = await openCache({ url: system.emcache.address, dir: join(folder, "latency"), entities: ["few"] });
  const told = new Map<string, (atMs: number) => void>();
  await cache.subscribe("few", {}, ({ id }) => told.get(String(id))?.(performance.now()));
  const delays: number[] = [];
  for (let write = 0; write < WRITES; write += 1) {
    const id = `latency-${write}`;
    const arrived = new Promise<number>((resolve) => told.set(id, resolve));
    await system.collection("few").insertOne({ _id: id as never, seq: 0 });
    const acknowledgedMs = performance.now();
    delays.push((await arrived) - acknowledgedMs);
    told.delete(id);
  }
  return [
    {
      what: `acknowledged write until told by subscribe, ${WRITES} writes one after the other`,
      value: `median ${msText(median(delays))}; p99 ${msText(quantile(delays, 0.99))}`,
      beside: "one client beside an idle server",
    },
  ];
}

async function together(): Promise<Measurement[]> {
  const processes = Math.max(1, Math.ceil(CLIENTS / CLIENTS_A_PROCESS));
  const each = Math.min(CLIENTS, CLIENTS_A_PROCESS);
  const runs = Array.from({ length: processes }, (_, index) => runClients("few", each, `together-${index}`));
  const results = await Promise.all(runs);
  const { bytes } = await readToNothing("few");
  const liveMs = Math.max(...results.map((result) => result.liveMs));
  const clients = processes * each;
  const peak = Math.max(...results.map((result) => result.peakKiB)) / 1024;
  return [
    {
      what: `${clients} clients at once, ${results[0]?.rows.toLocaleString("en-US")} rows each, until all are live`,
      value: `${(liveMs / 1000).toFixed(1)} s; ${((clients * bytes) / MEBIBYTE / (liveMs / 1000)).toFixed(0)} MiB/s in all`,
      beside: `peak memory of a process with ${each} clients: ${Math.round(peak)} MiB`,
    },
  ];
}

async function readToNothing(entity: string, coding = "identity"): Promise<{ bytes: number; ms: number }> {
  const begin = performance.now();
  const { get } = await import("node:http");
  const url = `${system.emcache.address}/api/snapshots/${entity}`;
  const bytes = await new Promise<number>((resolve, reject) => {
    get(url, { headers: { "accept-encoding": coding } }, (response) => {
      let count = 0;
      response.on("data", (chunk: Buffer) => (count += chunk.length));
      response.on("end", () => resolve(count));
      response.on("error", reject);
    }).on("error", reject);
  });
  return { bytes, ms: performance.now() - begin };
}

function runClients(entity: string, count: number, name: string): Promise<ClientResult> {
  const program = join(import.meta.dirname, "client-process.ts");
  const args = [program, system.emcache.address, join(folder, name), entity, String(count)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) resolve(JSON.parse(out) as ClientResult);
      else reject(new Error(`a client process ended with ${code}`));
    });
  });
}
