import { copyFileSync, constants, closeSync, fsyncSync, openSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import Database from "better-sqlite3";
import { CacheFile, type CacheRow } from "../packages/cache-file/src/index.ts";
import { makeTestFolder } from "../test/support/test-folder.ts";
import { machine } from "./machine.ts";
import { type Measurement, msText, printTable } from "./print-table.ts";

/**
 * `node bench/snapshot.ts`: how a snapshot is best taken from a cache that is written all the while. Each way is
 * measured by how long it takes, how large the result is, how long one transaction of the writer took at most, and how
 * far the WAL grew. `EMCACHE_BENCH_ROWS` (1,000,000) sets the cache's size; half of the rows were replaced by a second
 * copy, as in a cache that has lived for a while.
 *
 * - `VACUUM INTO` from another connection: one read transaction over all of it
 * - the backup API, stepped on the writer's own connection between its transactions
 * - the file copied while checkpoints are held off: the WAL is emptied, then a reader that took its place before the
 *   next commit (it reads the file alone, SQLite's WAL_READ_LOCK(0)) lets no connection write to the file. By reflink
 *   where the file system has it.
 */
const ROWS = Number(process.env["EMCACHE_BENCH_ROWS"] ?? 1_000_000);
/** A busy entity: 5,000 rows a second in 50 transactions. */
const ROWS_PER_TRANSACTION = 100;
const PAUSE_MS = 20;
/** As `open-cache-database.ts` sets it. */
const CHECKPOINT_PAGES = 16_000;
/** Of one step of the backup: about a millisecond. */
const BACKUP_STEP_PAGES = 500;

const ENTITY = {
  id: 1,
  name: "bench",
  client: "main",
  source: "bench",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" as const },
    columns: [
      { name: "email", type: "string" as const, path: "$.email" },
      { name: "name", type: "string" as const, path: "$.name" },
      { name: "age", type: "integer" as const, path: "$.age" },
      { name: "address", type: "jsonb" as const, path: "$.address" },
    ],
    indexes: [{ name: "bench_email", columns: ["email"] }],
  },
};

interface Way {
  readonly name: string;
  /** Resolves when the target is on disk. */
  readonly run: (source: Database.Database, path: string, target: string) => Promise<void>;
}

const WAYS: readonly Way[] = [
  { name: "VACUUM INTO", run: (_source, path, target) => inWorker("vacuum", path, target) },
  {
    name: "backup stepped on the writer's connection",
    run: async (source, _path, target) => {
      await source.backup(target, { progress: () => BACKUP_STEP_PAGES });
      flush(target);
    },
  },
  {
    name: "file copy, checkpoints held off",
    run: async (source, path, target) => {
      source.pragma("wal_checkpoint(TRUNCATE)");
      const holder = new Database(path, { readonly: true });
      holder.exec("BEGIN");
      holder.prepare("SELECT count(*) FROM sqlite_schema").get();
      try {
        await inWorker("copy", path, target);
      } finally {
        holder.close();
      }
    },
  },
];

function row(position: number, number: number): CacheRow {
  const id = (((number * 2_654_435_761) % 4_294_967_296) >>> 0).toString(16).padStart(8, "0").repeat(3);
  const street = `${number % 977} Long Street, building ${number % 13}`;
  const data = [
    `mail${position}-${number}@example.com`,
    `Name of ${number}`,
    number % 90,
    { street, zip: number % 99_999 },
  ];
  return {
    position,
    operation: "upsert",
    docId: id,
    idType: 2,
    origin: "copy",
    transaction: null,
    transactionEnd: false,
    data: JSON.stringify(data),
  };
}

function bracket(position: number, operation: "sync_start" | "sync_end"): CacheRow {
  return { ...row(position, 0), operation, docId: "", idType: 0, data: null };
}

/** Two copies: the second leaves the first one's pages free in the file. */
function fill(path: string): void {
  const cache = CacheFile.open(path, { entity: ENTITY, logId: "bench" });
  let position = 0;
  for (const count of [ROWS / 2, ROWS]) {
    cache.apply([bracket(++position, "sync_start")], { position, tag: "t" });
    for (let first = 0; first < count; first += 10_000) {
      const rows = Array.from({ length: 10_000 }, (_, index) => row(++position, first + index));
      cache.apply(rows, { position, tag: "t" });
    }
    cache.apply([bracket(++position, "sync_end")], { position, tag: "t" });
  }
  cache.close();
}

async function measure({ name, run }: Way, path: string, target: string): Promise<Measurement[]> {
  const writer = new Database(path);
  for (const pragma of ["journal_mode = WAL", "synchronous = NORMAL", `wal_autocheckpoint = ${CHECKPOINT_PAGES}`])
    writer.pragma(pragma);
  writer.pragma("cache_size = -65536");
  const update = writer.prepare("UPDATE data SET name = name || '!' WHERE rowid = ?");
  const write = writer.transaction((first: number) => {
    for (let index = 0; index < ROWS_PER_TRANSACTION; index += 1)
      update.run(1 + ((first * 7_919 + index * 104_729) % ROWS));
  });
  const stop = new AbortController();
  let longestMs = 0;
  let walBytes = 0;
  let written = 0;
  const writing = (async () => {
    while (!stop.signal.aborted) {
      // From the turn that was due: a way that holds this thread blocks the writer too.
      const due = performance.now() + PAUSE_MS;
      await pause(PAUSE_MS);
      write.immediate(written);
      longestMs = Math.max(longestMs, performance.now() - due);
      walBytes = Math.max(walBytes, statSync(`${path}-wal`).size);
      written += 1;
    }
  })();
  await pause(500);
  const before = longestMs;
  longestMs = 0;
  const begin = performance.now();
  await run(writer, path, target);
  const tookMs = performance.now() - begin;
  stop.abort();
  await writing;
  writer.pragma("wal_checkpoint(TRUNCATE)");
  writer.close();
  const checkBegin = performance.now();
  const copy = new Database(target, { readonly: true });
  const complaint = copy.pragma("integrity_check(1)", { simple: true });
  copy.close();
  if (complaint !== "ok") throw new Error(`${name}: ${String(complaint)}`);
  const checkedMs = performance.now() - checkBegin;
  return [
    {
      what: name,
      value: `${(tookMs / 1_000).toFixed(2)} s, ${mebibytes(statSync(target).size)}`,
      beside:
        `writer waited ${msText(longestMs)} at most (${msText(before)} without); WAL grew to ${mebibytes(walBytes)}; ` +
        `integrity_check ${(checkedMs / 1_000).toFixed(2)} s`,
    },
  ];
}

function inWorker(kind: "vacuum" | "copy", path: string, target: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const worker = new Worker(new URL(import.meta.url), { workerData: { kind, path, target } });
  worker.once("message", () => resolve());
  worker.once("error", reject);
  return promise.finally(() => void worker.terminate());
}

function work({ kind, path, target }: { kind: string; path: string; target: string }): void {
  if (kind === "vacuum") {
    const source = new Database(path, { readonly: true });
    source.prepare("VACUUM INTO ?").run(target);
    source.close();
  } else {
    copyFileSync(path, target, constants.COPYFILE_FICLONE);
  }
  flush(target);
  parentPort?.postMessage("done");
}

function flush(path: string): void {
  const file = openSync(path, "r+");
  fsyncSync(file);
  closeSync(file);
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

async function main(): Promise<void> {
  const folder = makeTestFolder("bench-snapshot");
  try {
    const path = join(folder, "bench.db");
    fill(path);
    const found = [...machine(), { what: "cache", value: mebibytes(statSync(path).size), beside: `${ROWS} rows` }];
    for (const round of [1, 2]) {
      for (const way of WAYS) {
        const target = join(folder, "target.db");
        const measured = await measure(way, path, target);
        if (round === 2) found.push(...measured);
        rmSync(target);
      }
    }
    printTable(found);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (isMainThread) await main();
else work(workerData as { kind: string; path: string; target: string });
