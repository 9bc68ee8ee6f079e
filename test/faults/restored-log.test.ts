import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { FaultyPostgres } from "../support/faulty-postgres.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 90_000;

const folder = useTestFolder("restored-log");
const entity = workloadEntity("restored", "restored");
let postgres: FaultyPostgres;
let system: TestSystem;
let workload: Workload;

beforeAll(async () => {
  postgres = await FaultyPostgres.start(join(folder, "postgres-server"));
  system = await TestSystem.start({
    folder,
    settings: { "snapshot.min_lag": 1_000_000_000, "snapshot.keep_count": 10, "snapshot.check_interval": 1 },
    emcache: { postgresUri: postgres.uri },
  });
  workload = new Workload(system.collection("restored"), { seed: 25, bulkSize: 50 });
  await workload.write("insert", 500);
});

afterAll(async () => {
  await system.dispose();
  await postgres.dispose();
});

interface Manifest {
  readonly id: string;
  readonly position: number;
  readonly tag: string;
  readonly log_id: string;
}

interface OplogAnswer {
  readonly position: number;
  readonly tag: string;
  readonly log_id: string;
}

/** Where a reader of all of the entity's log is. */
async function readToEnd(): Promise<OplogAnswer> {
  return system.api.call<OplogAnswer>("GET", "/api/oplogs/restored?limit=10000");
}

async function follow(reader: OplogAnswer): Promise<{ status: number; body: unknown }> {
  const tag = encodeURIComponent(reader.tag);
  return system.api.request(
    "GET",
    `/api/oplogs/restored?limit=10&after=${reader.position}&tag=${tag}&log_id=${reader.log_id}`,
  );
}

/** Every snapshot that is listed or served is of this log: its tag is the log's at its position. */
async function expectSnapshotsOfThisLog(): Promise<void> {
  const listed = await system.api.call<Manifest[]>("GET", "/api/snapshots?entity=restored");
  const newest = await system.api.request("GET", "/api/snapshots/restored?info");
  const served = newest.status === 200 ? [...listed, newest.body as Manifest] : listed;
  for (const manifest of served) {
    const [batch] = await postgres.query<{ tag: string; log_id: string }>(
      `SELECT b.tag, h.log_id::text FROM emcache.batch b, emcache.head h
        WHERE b.first_position <= $1 AND b.first_position + b.row_count > $1`,
      [manifest.position],
    );
    expect({ tag: batch?.tag, log_id: batch?.log_id }, JSON.stringify(manifest)).toEqual({
      tag: manifest.tag,
      log_id: manifest.log_id,
    });
  }
}

test("fault 25: PostgreSQL set back to an older state under running readers: refused by tag, rebuilt, no silent divergence", async () => {
  await system.create(entity);
  await system.expectEqual(entity);
  const valid = await system.api.call<Manifest>("POST", "/api/snapshots/restored");
  await postgres.stop();
  postgres.backUp(join(folder, "backup"));
  await postgres.restart();
  // The second time the process is not running while the log is set back.
  for (const isRunning of [true, false]) {
    await workload.write("mixed", 800);
    await system.expectEqual(entity, DEADLINE_MS);
    const lost = await system.api.call<Manifest>("POST", "/api/snapshots/restored");
    const reader = await readToEnd();
    expect((await follow(reader)).status).toBe(200);

    if (!isRunning) await system.emcache.stop();
    await postgres.stop();
    postgres.restore(join(folder, "backup"));
    await postgres.restart();
    if (!isRunning) await system.emcache.restart();
    // Whatever is asked first after the set-back: the lost snapshot is not given.
    const first = await eventually(
      async () => {
        const answer = await system.api.request("GET", "/api/snapshots/restored?info");
        return answer.status < 500 ? answer : null;
      },
      DEADLINE_MS,
      "snapshots are served again",
    );
    expect(first.body).not.toMatchObject({ id: lost.id });
    await workload.write("mixed", 300);
    await system.expectEqual(entity, DEADLINE_MS);
    expect(await follow(reader)).toMatchObject({ status: 409, body: { code: "history_mismatch" } });
    await expectSnapshotsOfThisLog();
    expect((await system.api.call<Manifest[]>("GET", "/api/snapshots")).map(({ id }) => id)).toContain(valid.id);
    await system.expectLinearHistory("restored", { isGapless: true });
  }
}, 300_000);

test("fault 25: PostgreSQL replaced by an empty one: nothing of the lost log is served, and what is created anew is right", async () => {
  const reader = await readToEnd();
  const lost = await system.api.call<Manifest[]>("GET", "/api/snapshots");
  expect(lost.length).toBeGreaterThan(0);
  await postgres.query("DROP SCHEMA emcache CASCADE");
  await postgres.stop();
  await postgres.restart();
  await eventually(
    async () => (await system.api.request("GET", "/api/entities/restored")).status === 404,
    DEADLINE_MS,
    "the empty log's registry is seen",
  );
  await eventually(
    async () => (await system.api.call<Manifest[]>("GET", "/api/snapshots")).length === 0,
    DEADLINE_MS,
    "no snapshot of the lost log is listed",
  );
  await workload.write("mixed", 300);
  await system.create(entity, DEADLINE_MS);
  await system.expectEqual(entity, DEADLINE_MS);
  expect(await follow(reader)).toMatchObject({ status: 409, body: { code: "history_mismatch" } });
  await expectSnapshotsOfThisLog();
  await system.expectLinearHistory("restored", { isGapless: true });
  reportFault({
    fault: 25,
    title: "PostgreSQL set back to an older state",
    source: "SecantusDB",
    injected: 3,
    lost: 0,
    skipped: null,
  });
}, 300_000);
