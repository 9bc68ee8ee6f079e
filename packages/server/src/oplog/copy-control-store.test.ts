import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import type { CopyState } from "../source/capture-log.ts";
import { CopyControlStore } from "./copy-control-store.ts";
import { CopyRequestStore } from "./copy-request-store.ts";
import { PostgresEntityStore } from "./postgres-entity-store.ts";
import { RejectStore } from "./reject-store.ts";
import { batchOf, bracket, type LogFixture, startLogFixture, testSignal, upsert } from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let entities: PostgresEntityStore;
let control: CopyControlStore;

beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  const { pool } = fixture.postgres;
  entities = new PostgresEntityStore({ pool, onChange: () => undefined });
  control = new CopyControlStore(pool);
  await entities.create(
    {
      name: "users",
      client: "main",
      source: "users",
      shape: {
        id_column: { path: "$._id", type: "string" },
        columns: [{ name: "age", type: "integer", path: "$.age" }],
        indexes: [],
      },
    },
    testSignal(),
  );
});
afterEach(() => fixture.stop());

function copyOf(state: CopyState) {
  return { copyId: "c", version: 1, state, lastId: null, rowCount: 0, rowCountEstimate: 0 };
}

function rejectOf(docId: string) {
  return { version: 1, docId, column: "age", reason: `${docId} is no integer`, sample: '"x"'.padEnd(200, "x") };
}

test("an entity that stopped says at which reject, to every process and over a restart", async () => {
  const log = await fixture.log("main");
  expect(await control.conditions([1, 2])).toEqual(new Map([[1, { state: null, isPaused: false, stopReason: null }]]));
  await log.append(batchOf([bracket("sync_start", 1)], { copies: [copyOf("running")] }), testSignal());
  await log.append(batchOf([upsert("a", 1)], { copies: [copyOf("stopped")], rejects: [rejectOf("b")] }), testSignal());
  expect((await control.conditions([1])).get(1)).toEqual({
    state: "stopped",
    isPaused: false,
    stopReason: "b is no integer",
  });
  await log.append(batchOf([], { copies: [copyOf("kept")] }), testSignal());
  expect((await control.conditions([1])).get(1)).toMatchObject({ state: "kept", stopReason: null });
});

test("what is asked of copies is seen by the capturing process; a deleted entity leaves nothing of it", async () => {
  const requests = new CopyRequestStore(fixture.postgres.pool);
  await control.request(1);
  await control.request(1);
  await control.pause("users");
  await control.pause("users");
  expect([await requests.list(testSignal()), await requests.paused(testSignal())]).toEqual([[1], ["users"]]);
  expect((await control.conditions([1])).get(1)?.isPaused).toBe(true);
  await control.resume("users");
  expect(await requests.paused(testSignal())).toEqual([]);
  await control.pause("users");
  await entities.delete("users", testSignal());
  expect(await requests.paused(testSignal())).toEqual([]);
});

test("100,000 rejects are counted, 1,000 of them are kept, and they can be paged and forgotten", async () => {
  const log = await fixture.log("main");
  const rejects = new RejectStore(fixture.postgres.pool);
  let withoutMs = 0;
  let withMs = 0;
  for (let batch = 0; batch < 20; batch++) {
    const ids = Array.from({ length: 5_000 }, (_, index) => `${batch}-${index}`);
    const rows = ids.map((id) => upsert(id, 1));
    let startedAtMs = performance.now();
    await log.append(batchOf(rows), testSignal());
    withoutMs += performance.now() - startedAtMs;
    startedAtMs = performance.now();
    await log.append(batchOf(rows, { rejects: ids.map(rejectOf) }), testSignal());
    withMs += performance.now() - startedAtMs;
  }
  if (process.env["EMCACHE_TEST_LOG"] !== undefined) console.log({ withoutMs, withMs });
  expect(await rejects.count([1])).toEqual(new Map([[1, 100_000]]));
  const [first, second] = await Promise.all([rejects.list(1, 600), rejects.list(1, 600, 600)]);
  expect([first.length, second.length]).toEqual([600, 400]);
  expect(new Set([...first, ...second].map(({ docId }) => docId)).size).toBe(1_000);
  await rejects.clear(1);
  expect([await rejects.count([1]), await rejects.list(1, 10)]).toEqual([new Map(), []]);
  await log.append(batchOf([], { rejects: [rejectOf("again")] }), testSignal());
  expect(await rejects.count([1])).toEqual(new Map([[1, 1]]));
});
