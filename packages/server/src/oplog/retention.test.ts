import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { ComponentHealth } from "../runtime/component-health.ts";
import { createLogger } from "../runtime/logger.ts";
import type { CaptureLog } from "../source/capture-log.ts";
import { COPY_ROWS, copyChunks, sealStatement } from "./append-message.ts";
import { ClaimStore } from "./claim-store.ts";
import { PostgresEntityStore } from "./postgres-entity-store.ts";
import { Retention, type RetentionOptions } from "./retention.ts";
import { PostgresSnapshotStore } from "./snapshot-store.ts";
import {
  type LogFixture,
  batchOf,
  bracket,
  startLogFixture,
  testLogger,
  testSignal,
  until,
  upsert,
} from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let log: CaptureLog;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  log = await fixture.log("main");
});
afterEach(() => fixture.stop());

/** By default the log keeps the newest 80 rows, in partitions of 10. */
function retention(options: Partial<RetentionOptions> = {}): Retention {
  return new Retention({
    pool: fixture.postgres.pool,
    ageS: 86_400,
    rowsMax: 80,
    rowsHardMax: 0,
    claimTtlS: 3_600,
    logger: testLogger,
    health: new ComponentHealth("retention"),
    ...options,
  });
}

/** Batches of ten rows, with a run of retention after each. */
async function fill(batches: number, keeper: Retention): Promise<void> {
  for (let index = 0; index < batches; index++) {
    await log.append(batchOf(Array.from({ length: 10 }, (_, row) => upsert(`${index} ${row}`))), testSignal());
    await keeper.runOnce(testSignal());
  }
}

async function floorOf(): Promise<number> {
  return (await fixture.reader.head()).floor;
}

test("old rows go, the floor moves with them, and the rest stays whole", async () => {
  await fill(30, retention());
  const floor = await floorOf();
  expect(floor).toBe(221);
  const before = await fixture.reader.page({ after: floor - 1, limit: 1_000, signal: testSignal() });
  expect(before.rows.map(({ position }) => position)).toEqual(Array.from({ length: 80 }, (_, index) => floor + index));
  // The tag below the floor is still known: a reader there shares the history.
  expect(before.tagAtFrom).toMatch(/^[0-9a-f]{16}$/);
  for (const versions of [undefined, [1]]) {
    await expect(
      fixture.reader.page({
        after: floor - 2,
        limit: 10,
        signal: testSignal(),
        ...(versions === undefined ? {} : { versions }),
      }),
    ).rejects.toMatchObject({ code: "position_too_old", details: { floor } });
  }
  const { rows } = await fixture.postgres.pool.query(
    "SELECT 1 FROM pg_inherits WHERE inhparent = 'emcache.oplog'::regclass",
  );
  expect(rows.length).toBeLessThan(13);
});

test("rows go by age, also all of them, and appending goes on", async () => {
  await fill(3, retention({ ageS: 0, rowsMax: 1_000_000 }));
  await retention({ ageS: 0, rowsMax: 1_000_000 }).runOnce(testSignal());
  expect(await floorOf()).toBe(31);
  const page = await fixture.reader.page({ after: 30, limit: 10, signal: testSignal() });
  expect(page).toMatchObject({ rows: [], position: 30, head: 30, full: false });
  expect(page.tag).toBe(page.tagAtFrom);
  await log.append(batchOf([upsert("next")]), testSignal());
  expect((await fixture.reader.page({ after: 30, limit: 10, signal: testSignal() })).rows[0]?.position).toBe(31);
});

describe("what readers still need", () => {
  test("an unexpired claim keeps the log from its position on; an expired one doesn't", async () => {
    const claims = new ClaimStore(fixture.postgres.pool);
    await claims.upsertClaim({ name: "cache a", kind: "cache", versions: [1], position: 57 });
    await fill(20, retention());
    expect(await floorOf()).toBe(51);
    await retention({ claimTtlS: 0 }).runOnce(testSignal());
    expect(await floorOf()).toBe(121);
  });

  test("the hard limit wins, and says whose rows it took", async () => {
    const claims = new ClaimStore(fixture.postgres.pool);
    await claims.upsertClaim({ name: "billing", kind: "consumer", versions: [1], position: 0 });
    const lines: string[] = [];
    const logger = createLogger({ level: "error", destination: { write: (line: string) => void lines.push(line) } });
    await fill(30, retention({ rowsHardMax: 200, logger }));
    expect(await floorOf()).toBe(101);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines[0]).toContain('"overruled":["consumer billing"]');
  });

  test("without a hard limit of its own it is four times as many rows; below the limit it is the limit", async () => {
    const claims = new ClaimStore(fixture.postgres.pool);
    await claims.upsertClaim({ name: "billing", kind: "consumer", versions: [1], position: 0 });
    await fill(33, retention());
    // 320 rows above it: the first partition alone is due.
    expect(await floorOf()).toBe(11);
    await retention({ rowsHardMax: 20 }).runOnce(testSignal());
    expect(await floorOf()).toBe(251);
  });

  test("whoever is told that it is too late finds a snapshot that the log goes on from, however often it asks", async () => {
    const entities = new PostgresEntityStore({ pool: fixture.postgres.pool, onChange: () => undefined });
    const shape = { id_column: { path: "$._id", type: "string" as const }, columns: [], indexes: [] };
    const versions: number[] = [];
    for (const name of ["users", "orders"]) {
      const { entity } = await entities.create({ name, client: "main", source: name, shape }, testSignal());
      await log.append(batchOf([bracket("sync_start", entity.id), bracket("sync_end", entity.id)]), testSignal());
      versions.push(entity.id);
    }
    const snapshots = new PostgresSnapshotStore(fixture.postgres.pool);
    let lastRefusal = 0;
    for (let round = 1; round <= 12; round++) {
      await fill(6, retention());
      // The two entities' snapshots are made at different times, one far less often.
      const name = round % 5 === 0 ? "orders" : "users";
      const version = versions[name === "users" ? 0 : 1] ?? 0;
      const { head } = await fixture.reader.head();
      if (round === 1) await list(snapshots, { name: "orders", version: versions[1] ?? 0, position: head });
      await list(snapshots, { name, version, position: head });
      await retention().runOnce(testSignal());
      const floor = await floorOf();
      const listed = await snapshots.list(null, testSignal());
      for (const entity of ["users", "orders"]) {
        const newest = listed.find(({ manifest }) => manifest.entity === entity);
        if (newest === undefined) continue;
        const after = newest.manifest.position;
        const page = await fixture.reader.page({ after, limit: 10, versions, signal: testSignal() });
        expect(page.tagAtFrom, `${entity} in round ${round}`).not.toBeNull();
      }
      if (floor > 1) {
        const tooLate = fixture.reader.page({ after: floor - 2, limit: 1, versions, signal: testSignal() });
        await expect(tooLate).rejects.toMatchObject({ code: "position_too_old" });
        lastRefusal = floor;
      }
    }
    // The log was cut all the same, up to the older of the two newest ones.
    expect(lastRefusal).toBeGreaterThan(100);
  });

  async function list(
    snapshots: PostgresSnapshotStore,
    { name, version, position }: { name: string; version: number; position: number },
  ): Promise<void> {
    const manifest = {
      id: `${name}-${position}`,
      entity: name,
      version,
      log_id: "l",
      position,
      tag: "t",
      cluster_time_s: null,
      rows: 0,
      size_bytes: 0,
      sha256: "",
      compressions: [],
      created_at: "",
    };
    await snapshots.insert({ manifest, holder: "here", path: "/s", url: "", objectKey: null }, testSignal());
  }

  test("the newest snapshot of a live entity keeps the log", async () => {
    const entities = new PostgresEntityStore({ pool: fixture.postgres.pool, onChange: () => undefined });
    const shape = { id_column: { path: "$._id", type: "string" as const }, columns: [], indexes: [] };
    const { entity } = await entities.create({ name: "users", client: "main", source: "users", shape }, testSignal());
    await log.append(batchOf([bracket("sync_start", entity.id), bracket("sync_end", entity.id)]), testSignal());
    const snapshots = new PostgresSnapshotStore(fixture.postgres.pool);
    const manifest = {
      id: "s1",
      entity: "users",
      version: entity.id,
      log_id: "l",
      position: 25,
      tag: "t",
      cluster_time_s: null,
      rows: 0,
      size_bytes: 0,
      sha256: "",
      compressions: [],
      created_at: "",
    };
    const place = { holder: "here", path: "/s", url: "", objectKey: null };
    await snapshots.insert({ manifest, ...place }, testSignal());
    await snapshots.insert({ manifest: { ...manifest, id: "s2", position: 45 }, ...place }, testSignal());
    // One that is to be removed keeps nothing.
    await snapshots.insert({ manifest: { ...manifest, id: "s3", position: 60 }, ...place }, testSignal());
    await snapshots.markDeleted("s3", testSignal());
    await fill(20, retention());
    const floor = await floorOf();
    expect(floor).toBeGreaterThan(20);
    expect(floor).toBeLessThanOrEqual(46);
    const listed = await snapshots.list("users", testSignal());
    expect(listed.map(({ manifest, isDeleted }) => [manifest.id, isDeleted])).toEqual([
      ["s3", true],
      ["s2", false],
      ["s1", false],
    ]);
    await entities.delete("users", testSignal());
    await retention().runOnce(testSignal());
    expect(await floorOf()).toBeGreaterThan(100);
  });
});

test("an append that is under way keeps its partition, and is not lost", async () => {
  const writer = new pg.Client({ connectionString: fixture.uri });
  await writer.connect();
  await writer.query("BEGIN");
  const { rows } = await writer.query<{ id: string }>("SELECT nextval('emcache.batch_id') AS id");
  const id = rows[0]?.id ?? "";
  const batch = batchOf([upsert("slow")]);
  const copy = writer.query(copyFrom(COPY_ROWS));
  for (const chunk of copyChunks(id, batch.rows)) copy.write(chunk);
  await new Promise<void>((resolve) => copy.end(resolve));
  // Its partition is behind the current one, and empty but for what it has not committed.
  await fixture.postgres.pool.query("SELECT setval('emcache.batch_id', 1073741824, false)");
  const slow = await fixture.lease("slow");
  await slow.log().load(testSignal());
  for (let index = 0; index < 12; index++) {
    await log.append(batchOf(Array.from({ length: 10 }, (_, row) => upsert(`${index} ${row}`))), testSignal());
    await keepOrWait();
  }
  // It ends while retention waits for it.
  const keeping = keepOrWait();
  await until(async () => {
    const locks = await fixture.postgres.pool.query(
      "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT granted",
    );
    return locks.rows.length > 0;
  });
  await writer.query(
    `${sealStatement(id, { source: "slow", epoch: slow.epoch, number: 2, tag: "slow" }, batch)}; COMMIT`,
  );
  await writer.end();
  await keeping;
  await retention().runOnce(testSignal());
  const floor = await floorOf();
  const page = await fixture.reader.page({ after: floor - 1, limit: 1_000, signal: testSignal() });
  expect(page.rows.map(({ docId }) => docId)).toContain("slow");
});

/** Retention may be kept waiting; then it tries again later. */
async function keepOrWait(): Promise<void> {
  try {
    await retention().runOnce(testSignal());
  } catch (error) {
    expect(error).toMatchObject({ code: "postgres_unavailable" });
  }
}

test("a batch whose partition was dropped meanwhile goes to a new one", async () => {
  await fixture.postgres.pool.query("DROP TABLE emcache.oplog_p0; DROP TABLE emcache.batch_p0");
  await expect(log.append(batchOf([upsert("a")]), testSignal())).rejects.toMatchObject({
    code: "postgres_unavailable",
  });
  await retention().runOnce(testSignal());
  await fixture.postgres.pool.query("SELECT setval('emcache.batch_id', 1073741824, false)");
  await log.append(batchOf([upsert("a")]), testSignal());
  expect((await fixture.readAll()).map(({ docId }) => docId)).toEqual(["a"]);
});

test("retention while appends and reads go on disturbs neither, however slow a reader with a claim is", async () => {
  const keeper = retention({ rowsMax: 2_000, rowsHardMax: 1_000_000 });
  const claims = new ClaimStore(fixture.postgres.pool);
  const claim = (position: number): Promise<void> =>
    claims.upsertClaim({ name: "reader", kind: "consumer", versions: [1], position });
  await claim(0);
  let isWriting = true;
  let isKeeping = true;
  const stillWriting = (): boolean => isWriting;
  const stillKeeping = (): boolean => isKeeping;
  const write = async (): Promise<void> => {
    for (let index = 0; index < 60; index++) {
      const count = index % 2 === 0 ? 400 : 20;
      await log.append(batchOf(Array.from({ length: count }, (_, row) => upsert(`${index} ${row}`))), testSignal());
    }
  };
  const keep = async (): Promise<void> => {
    while (stillKeeping()) {
      await keeper.runOnce(testSignal()).catch((error: unknown) => {
        // A wait for the log that was given up; it tries again.
        expect(error).toMatchObject({ code: "postgres_unavailable" });
      });
    }
  };
  let position = 0;
  const read = async (): Promise<void> => {
    for (let isLast = false; !isLast;) {
      isLast = !stillWriting();
      for (let isFull = true; isFull;) {
        const page = await fixture.reader.page({ after: position, limit: 300, signal: testSignal() });
        for (const row of page.rows) expect(row.position).toBe(++position);
        isFull = page.full;
        await claim(position);
      }
    }
  };
  const keeping = keep();
  try {
    await Promise.all([write().finally(() => (isWriting = false)), read()]);
  } finally {
    isKeeping = false;
    await keeping;
  }
  expect(position).toBe(30 * 420);
  await keeper.runOnce(testSignal());
  expect(await floorOf()).toBeGreaterThan(1);
}, 60_000);
