import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import pg from "pg";
import { Retention } from "../../packages/server/src/oplog/retention.ts";
import { ComponentHealth } from "../../packages/server/src/runtime/component-health.ts";
import { createLogger } from "../../packages/server/src/runtime/logger.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { compareCache, expectedTable, openCache } from "../support/oracle.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;

/** Small enough that the floor passes every reader several times. */
const ROWS_KEPT = 800;
const ROWS_WRITTEN = 6_000;
const READERS = 4;

const folder = useTestFolder("retention-race");
let postgres: FaultyPostgres;
let system: TestSystem;
let behind: EmcacheProcess;

beforeAll(async () => {
  postgres = await FaultyPostgres.start(join(folder, "postgres-server"));
  system = await TestSystem.start({
    folder,
    settings: { "snapshot.min_lag": 500, "snapshot.check_interval": 1 },
    emcache: { postgresUri: postgres.uri },
  });
  const folderBehind = join(folder, "behind");
  mkdirSync(folderBehind);
  behind = await EmcacheProcess.start({
    folder: folderBehind,
    postgresUri: postgres.uri,
    sources: {},
    settings: { roles: ["replicate", "api"], "snapshot.min_lag": 1_000_000_000 },
  });
});

afterAll(async () => {
  behind.process.signal("SIGCONT");
  await behind.dispose();
  await system.dispose();
  await postgres.dispose();
});

interface OplogAnswer {
  readonly position: number;
  readonly tag: string;
  readonly has_more: boolean;
  readonly entries: readonly { readonly id: number }[];
}

/** What a slow reader met. */
interface Reading {
  rows: number;
  tooOld: number;
}

/** Reads page after page until told to stop: ids follow one another, or the answer is 410 and it starts from a snapshot. */
async function readSlowly(random: number, signal: AbortSignal): Promise<Reading> {
  const reading: Reading = { rows: 0, tooOld: 0 };
  let after = 0;
  let tag = "";
  for (;;) {
    const tagged = tag === "" ? "" : `&tag=${encodeURIComponent(tag)}`;
    const limit = 20 + random * 30;
    const answer = await system.api.request("GET", `/api/oplogs/raced?limit=${limit}&after=${after}${tagged}`);
    if (answer.status === 410) {
      expect(answer.body).toMatchObject({ code: "position_too_old" });
      reading.tooOld += 1;
      const snapshot = await system.api.call<{ position: number; tag: string }>("GET", "/api/snapshots/raced?info");
      expect(snapshot.position).toBeGreaterThan(after);
      ({ position: after, tag } = snapshot);
      continue;
    }
    expect(answer.status).toBe(200);
    const page = answer.body as OplogAnswer;
    // The log holds rows of this one entity only: no number may be missing.
    const ids = page.entries.map(({ id }) => id);
    expect(ids).toEqual(Array.from({ length: ids.length }, (_, index) => after + 1 + index));
    reading.rows += ids.length;
    ({ position: after, tag } = page);
    if (signal.aborted && !page.has_more) return reading;
    // Slow: this is how long its work takes. A wait of the reader's, not for a condition.
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 30 * random));
  }
}

test("fault 20: retention races slow readers: the full range, or a clear 'too old, start from a snapshot', never a gap", async () => {
  const entity = workloadEntity("raced", "raced");
  const workload = new Workload(system.collection("raced"), { seed: 20, clients: 2, bulkSize: 40 });
  await workload.write("insert", 300);
  await system.create(entity);
  await system.expectEqual(entity);
  const fileBehind = join(behind.cacheFolder, "raced.db");
  await eventually(() => compareTo(fileBehind), DEADLINE_MS, "the second process has the entity");
  await system.api.call("POST", "/api/snapshots/raced");

  const pool = new pg.Pool({ connectionString: postgres.uri });
  pool.on("error", () => undefined);
  const retention = new Retention({
    pool,
    ageS: 3_600,
    rowsMax: ROWS_KEPT,
    // Claims and snapshots hold it back up to here; beyond, it drops what they need.
    rowsHardMax: ROWS_KEPT * 2,
    claimTtlS: 3_600,
    logger: createLogger({ level: "fatal" }),
    health: new ComponentHealth("retention"),
    intervalMs: 20,
  });
  await retention.start();
  // One process sleeps through it all.
  behind.process.signal("SIGSTOP");
  const stop = new AbortController();
  const readers = Array.from({ length: READERS }, (_, index) => readSlowly(index, stop.signal));
  await workload.write("mixed", ROWS_WRITTEN);
  stop.abort();
  const readings = await Promise.all(readers);
  await retention.stop();
  const [head] = await postgres.query<{ floor: string; position: string }>("SELECT floor, position FROM emcache.head");
  console.log(`retention-race: floor ${head?.floor}, head ${head?.position}; ${JSON.stringify(readings)}`);
  expect(Number(head?.floor)).toBeGreaterThan(ROWS_WRITTEN / 3);
  expect(readings.reduce((sum, { tooOld }) => sum + tooOld, 0)).toBeGreaterThan(0);
  behind.process.signal("SIGCONT");
  await system.expectEqual(entity, DEADLINE_MS);
  // It finds itself below the floor and is rebuilt.
  const expected = await expectedTable(system.collection("raced"), entity);
  await eventually(
    () => compareCache(fileBehind, entity, expected).isEqual,
    DEADLINE_MS,
    () => `the process that slept is equal again; ${compareCache(fileBehind, entity, expected).report}`,
  );
  await pool.end();
  reportFault({
    fault: 20,
    title: "Retention races a slow reader",
    source: "SecantusDB",
    injected: readings.length,
    lost: 0,
    skipped: null,
  });
}, 300_000);

/** Whether the file is there and complete. */
function compareTo(file: string): boolean {
  const database = openCache(file);
  try {
    return database.prepare("SELECT value FROM metadata WHERE key = 'mode'").pluck().get() === "live";
  } finally {
    database.close();
  }
}
