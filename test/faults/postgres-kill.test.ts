import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { reportFault } from "../support/fault-report.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { SeededRandom, seedOfRun } from "../support/seeded-random.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const KILLS = faultRepeats({ short: 5, full: 20 });

/** Recovery of PostgreSQL and the capture's backoff, on a busy machine. */
const RECOVERY_DEADLINE_MS = 90_000;

/** From the commit's message to the kill: within that time the server reads it, writes its log, flushes it and answers. */
const DELAY_MS_MAX = 3;

const folder = useTestFolder("postgres-kill");
let postgres: FaultyPostgres;
let system: TestSystem;

beforeAll(async () => {
  postgres = await FaultyPostgres.start(join(folder, "postgres-server"));
  system = await TestSystem.start({
    folder,
    settings: { "snapshot.min_lag": 1_000_000_000 },
    emcache: { postgresUri: postgres.uri },
  });
});

afterAll(async () => {
  await system.dispose();
  await postgres.dispose();
});

test("fault 16: PostgreSQL killed in mid-commit", async () => {
  const seed = seedOfRun();
  console.log(`postgres-kill: seed ${seed} (EMCACHE_TEST_SEED=${seed} repeats it)`);
  const random = new SeededRandom(seed);
  const entity = workloadEntity("committed", "committed");
  const workload = new Workload(system.collection("committed"), { seed, clients: 2, bulkSize: 20 });
  await workload.write("insert", 1_000);
  await system.create(entity);
  for (let round = 1; round <= KILLS; round += 1) {
    const stop = new AbortController();
    const writing = workload.writeUntil(stop.signal);
    const delayMs = random.integer(0, DELAY_MS_MAX * 1_000) / 1_000;
    await killAtCommit(delayMs);
    await postgres.restart();
    const after = await tagAndNumber();
    // The log goes on by itself while the source is written to.
    await eventually(
      async () => Number((await tagAndNumber()).append_number) > Number(after.append_number) + 1,
      RECOVERY_DEADLINE_MS,
      `round ${round}: appends again`,
    );
    stop.abort();
    await writing;
    await system.expectEqual(entity, RECOVERY_DEADLINE_MS).catch((error: unknown) => {
      throw new Error(`round ${round}, ${delayMs} ms after the commit was sent`, { cause: error });
    });
  }
  await system.expectLinearHistory("committed", { isGapless: true });
  await expectNoStrays();
  reportFault({
    fault: 16,
    title: "PostgreSQL killed in mid-commit",
    source: "SecantusDB",
    injected: KILLS,
    lost: 0,
    skipped: null,
  });
}, 900_000);

/** Kills the server so many ms after the message that appends and commits has passed to it. */
async function killAtCommit(delayMs: number): Promise<void> {
  const killed = Promise.withResolvers<void>();
  let isArmed = true;
  postgres.onMessage = (piece) => {
    if (!isArmed || !piece.includes("emcache.seal(") || !piece.includes("COMMIT")) return;
    isArmed = false;
    setTimeout(() => {
      postgres.kill();
      killed.resolve();
    }, delayMs);
  };
  await killed.promise;
  postgres.onMessage = () => undefined;
}

async function tagAndNumber(): Promise<{ append_number: string; append_tag: string }> {
  const rows = await postgres.query<{ append_number: string; append_tag: string }>(
    "SELECT append_number, append_tag FROM emcache.source_checkpoint WHERE source = 'main'",
  );
  const row = rows[0];
  if (row === undefined) throw new Error("source main has no checkpoint");
  return row;
}

/** Every header's rows are there, and no row is without a header: a commit was whole or not at all. */
async function expectNoStrays(): Promise<void> {
  const [found] = await postgres.query<{ strays: string; holes: string }>(`
    SELECT (SELECT count(*) FROM emcache.oplog o WHERE NOT EXISTS (
              SELECT 1 FROM emcache.batch b WHERE b.batch_id = o.batch_id)) AS strays,
           (SELECT count(*) FROM emcache.batch b WHERE b.row_count <> (
              SELECT count(*) FROM emcache.oplog o WHERE o.batch_id = b.batch_id)) AS holes`);
  expect(found).toEqual({ strays: "0", holes: "0" });
}
