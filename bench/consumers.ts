import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Int32 } from "mongodb";
import type { Entity } from "../packages/protocol/src/index.ts";
import { EmcacheProcess } from "../test/support/emcache-process.ts";
import { eventually } from "../test/support/eventually.ts";
import { makeTestFolder } from "../test/support/test-folder.ts";
import { startTestPostgres } from "../test/support/test-postgres.ts";
import { TestSystem } from "../test/support/test-system.ts";
import { workloadEntity } from "../test/support/workload.ts";
import type { ConsumerOrders } from "./consumer-process.ts";
import { startDevMongo } from "./dev-mongo-process.ts";
import { machine } from "./machine.ts";
import { type Measurement, median, msText, printTable, quantile } from "./print-table.ts";

/**
 * `node bench/consumers.ts`: how long it takes from an acknowledged write in MongoDB until the row is visible in the
 * SQLite file of each of 500 consumers, every one with a long poll of its own; and how often PostgreSQL is read for
 * that. Once with the consumers on the process that captures, once on a process that only serves the API. Beside each:
 * the same with one consumer, on the same machine in the same run.
 *
 * `EMCACHE_BENCH_CONSUMERS` (500), `EMCACHE_BENCH_WRITES` (60) set the sizes.
 */
const CONSUMERS = Number(process.env["EMCACHE_BENCH_CONSUMERS"] ?? 500);
const WRITES = Number(process.env["EMCACHE_BENCH_WRITES"] ?? 60);
const PROCESSES = 4;
const WARM_UP_WRITES = 5;
const DEADLINE_MS = 120_000;
/** Idle time between two writes, so that each finds every consumer waiting. */
const PAUSE_MS = 50;

interface Status {
  readonly max_id: number;
  readonly waiting: number;
  readonly pages_read: number;
  readonly batches_taken: number;
}

const CONSUMER_PROGRAM = fileURLToPath(new URL("./consumer-process.ts", import.meta.url));

const ENTITY = workloadEntity("followed", "followed");

async function main(): Promise<void> {
  const folder = makeTestFolder("bench-consumers");
  const mongo = await startDevMongo(64);
  process.env["EMCACHE_TEST_MONGO_URI"] = mongo.uri;
  const postgres = await startTestPostgres();
  const postgresUri = await postgres.newDatabase();
  const settings = { "logging.level": "info", "snapshot.min_lag": 1_000_000_000 };
  const system = await TestSystem.start({ folder: join(folder, "one"), settings, emcache: { postgresUri } });
  const sources = { main: { uri: system.mongo.uri, database: system.mongo.databaseName } };
  const apart = await EmcacheProcess.start({
    folder: join(folder, "apart"),
    sources,
    settings: { ...settings, roles: ["api"] },
    postgresUri,
  });
  try {
    await system.collection("followed").insertOne({ _id: "before" as never, seq: new Int32(1) });
    await system.create(ENTITY);
    const rows: Measurement[] = [];
    for (const [where, url] of [
      ["on the capturing process", system.emcache.address],
      ["on a process with role api", apart.address],
    ] as const) {
      const one = await measure(system, url, 1, join(folder, `${rows.length}-1`));
      const all = await measure(system, url, CONSUMERS, join(folder, `${rows.length}-all`));
      rows.push(...measurements(where, one, all));
    }
    printTable([...machine(), ...rows]);
  } finally {
    await apart.dispose();
    await system.dispose();
    await postgres.stop();
    mongo.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Result {
  readonly latenciesMs: number[];
  /** Until the last consumer had it, for each write. */
  readonly lastMs: number[];
  readonly readsPerPage: number;
  readonly takenPerPage: number;
}

async function measure(system: TestSystem, url: string, consumers: number, folder: string): Promise<Result> {
  mkdirSync(folder, { recursive: true });
  const entity = (await (await fetch(`${url}/api/entities/followed`)).json()) as Entity;
  const arrivals = new Map<number, number[]>();
  const children = startConsumers({ url, folder, entity, consumers }, arrivals);
  try {
    await eventually(async () => (await statusOf(url)).waiting === consumers, DEADLINE_MS, "all consumers wait");
    const latenciesMs: number[] = [];
    const lastMs: number[] = [];
    let before = await statusOf(url);
    for (let count = -WARM_UP_WRITES; count < WRITES; count++) {
      if (count === 0) before = await statusOf(url);
      const write = nextWrite++;
      await system
        .collection("followed")
        .insertOne({ _id: `write ${write}` as never, seq: new Int32(1), name: "a name" });
      const acknowledgedMs = monotonicMs();
      await eventually(() => arrivals.get(write)?.length === consumers, DEADLINE_MS, `write ${write} is everywhere`);
      const delays = (arrivals.get(write) ?? []).map((atMs) => atMs - acknowledgedMs);
      if (count >= 0) {
        latenciesMs.push(...delays);
        lastMs.push(Math.max(...delays));
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    const after = await statusOf(url);
    return {
      latenciesMs,
      lastMs,
      readsPerPage: (after.pages_read - before.pages_read) / WRITES,
      takenPerPage: (after.batches_taken - before.batches_taken) / WRITES,
    };
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

let nextWrite = 1;

function startConsumers(orders: ConsumerOrders, arrivals: Map<number, number[]>): ChildProcess[] {
  const processes = Math.min(PROCESSES, orders.consumers);
  return Array.from({ length: processes }, (_, index) => {
    const consumers = Math.floor((orders.consumers + index) / processes);
    const child = spawn(process.execPath, [CONSUMER_PROGRAM, JSON.stringify({ ...orders, consumers })], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { atMs, seen } = JSON.parse(line) as { atMs: number; seen: number[] };
      for (const write of seen) arrivals.set(write, [...(arrivals.get(write) ?? []), atMs]);
    });
    return child;
  });
}

function measurements(where: string, one: Result, all: Result): Measurement[] {
  const what = `${CONSUMERS} consumers ${where}, acknowledged write to row in SQLite (${WRITES} writes)`;
  return [
    {
      what: `${what}, median`,
      value: msText(median(all.latenciesMs)),
      beside: `one consumer: ${msText(median(one.latenciesMs))}`,
    },
    {
      what: "the same, p99",
      value: msText(quantile(all.latenciesMs, 0.99)),
      beside: `one consumer: ${msText(quantile(one.latenciesMs, 0.99))}`,
    },
    {
      what: "the same, until the last consumer has it, median",
      value: msText(median(all.lastMs)),
      beside: `${(median(all.lastMs) / CONSUMERS).toFixed(2)} ms a consumer`,
    },
    {
      what: "PostgreSQL reads a committed page",
      value: all.readsPerPage.toFixed(2),
      beside: `taken from memory: ${all.takenPerPage.toFixed(2)}`,
    },
  ];
}

async function statusOf(url: string): Promise<Status> {
  return (await (await fetch(`${url}/api/oplogs/status`)).json()) as Status;
}

/** The same clock in all processes of this machine. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

await main();
