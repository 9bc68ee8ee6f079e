import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { ClaimStore } from "./claim-store.ts";
import { PostgresEntityStore } from "./postgres-entity-store.ts";
import { RejectStore } from "./reject-store.ts";
import {
  type LogFixture,
  batchOf,
  bracket,
  startLogFixture,
  testSignal,
  until,
  upsert,
} from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let entities: PostgresEntityStore;
let changes = 0;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  changes = 0;
  entities = new PostgresEntityStore({ pool: fixture.postgres.pool, onChange: () => changes++ });
});
afterEach(() => fixture.stop());

function definition(name: string, columns: string[] = []) {
  return {
    name,
    client: "main",
    source: name,
    shape: {
      id_column: { path: "$._id", type: "string" as const },
      columns: columns.map((column) => ({ name: column, type: "any" as const, path: `$.${column}` })),
      indexes: [],
    },
  };
}

async function states(): Promise<[number, string][]> {
  return (await entities.list(testSignal())).map(({ entity, state }) => [entity.id, state]);
}

test("a version becomes live, and the older one retired, with the end of its copy", async () => {
  const log = await fixture.log("main");
  const first = await entities.create(definition("users"), testSignal());
  expect(first).toMatchObject({ state: "pending", entity: { id: 1, name: "users" } });
  await log.append(batchOf([bracket("sync_start", 1), upsert("a", 1)]), testSignal());
  expect(await states()).toEqual([[1, "pending"]]);
  await log.append(batchOf([bracket("sync_end", 1)]), testSignal());
  expect(await states()).toEqual([[1, "live"]]);
  const second = await entities.update("users", definition("users", ["email"]), testSignal());
  expect(second.entity.id).toBe(2);
  // A further change before its copy is complete takes the pending one's place.
  const third = await entities.update("users", definition("users", ["email", "age"]), testSignal());
  expect(await states()).toEqual([
    [1, "live"],
    [2, "retired"],
    [3, "pending"],
  ]);
  await log.append(batchOf([bracket("sync_start", 2), bracket("sync_end", 2)]), testSignal());
  expect(await states()).toEqual([
    [1, "live"],
    [2, "retired"],
    [3, "pending"],
  ]);
  await log.append(batchOf([bracket("sync_start", 3), bracket("sync_end", 3)]), testSignal());
  expect(await states()).toEqual([
    [1, "retired"],
    [2, "retired"],
    [3, "live"],
  ]);
  // Back to the live one's definition: the pending one is given up.
  await entities.update("users", definition("users", ["other"]), testSignal());
  expect((await entities.update("users", definition("users", ["email", "age"]), testSignal())).entity.id).toBe(3);
  expect((await states()).at(-1)).toEqual([4, "retired"]);
  // The same definition again changes nothing.
  expect(await entities.update("users", definition("users", ["email", "age"]), testSignal())).toEqual({
    ...third,
    state: "live",
  });
  expect(changes).toBeGreaterThanOrEqual(3);
});

test("of two processes that create one entity, one succeeds", async () => {
  const results = await Promise.allSettled(
    Array.from({ length: 5 }, () => entities.create(definition("users"), testSignal())),
  );
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const result of results)
    if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "entity_exists" });
  await expect(entities.update("nobody", definition("nobody"), testSignal())).rejects.toMatchObject({
    code: "entity_not_found",
  });
});

test("a deleted entity's rows are served no more, and its copies are forgotten", async () => {
  const log = await fixture.log("main");
  await entities.create(definition("users"), testSignal());
  await entities.create(definition("orders"), testSignal());
  const copy = { copyId: "c", version: 1, state: "running" as const, lastId: null, rowCount: 1, rowCountEstimate: 2 };
  await log.append(
    batchOf([bracket("sync_start", 1), upsert("a", 1), upsert("b", 2)], { copies: [copy] }),
    testSignal(),
  );
  expect(await entities.delete("users", testSignal())).toBe(true);
  expect(await entities.delete("users", testSignal())).toBe(false);
  // A late append of it is allowed, and not served.
  await log.append(batchOf([upsert("late", 1), upsert("c", 2)], { copies: [copy] }), testSignal());
  expect((await fixture.readAll()).map(({ docId }) => docId)).toEqual(["b", "c"]);
  const filtered = await fixture.reader.page({ after: 0, limit: 10, versions: [1, 2], signal: testSignal() });
  expect(filtered.rows.map(({ docId }) => docId)).toEqual(["b", "c"]);
  expect((await log.load(testSignal())).copies).toEqual([]);
  // The name is free again, for a new version.
  expect((await entities.create(definition("users"), testSignal())).entity.id).toBe(3);
});

test("an entity can be deleted while an append ends its copy: neither waits for the other in a circle", async () => {
  const log = await fixture.log("main");
  await entities.create(definition("users"), testSignal());
  const copy = { copyId: "c", version: 1, state: "running" as const, lastId: null, rowCount: 1, rowCountEstimate: 2 };
  await log.append(batchOf([bracket("sync_start", 1)], { copies: [copy] }), testSignal());
  // What the end of a copy locks, in its order, stopped in the middle.
  const append = await fixture.postgres.pool.connect();
  await append.query("BEGIN");
  await append.query("UPDATE emcache.copy SET row_count = 2 WHERE version = 1");
  const deleted = entities.delete("users", testSignal());
  await until(async () => {
    const { rows } = await fixture.postgres.pool.query("SELECT 1 FROM pg_locks WHERE NOT granted");
    return rows.length > 0;
  });
  await append.query("UPDATE emcache.entity_version SET state = 'live' WHERE version = 1");
  await append.query("COMMIT");
  append.release();
  expect(await deleted).toBe(true);
});

test("rejects are kept one a document and column, bounded, counted, and begin anew with a copy", async () => {
  const log = await fixture.log("main");
  const rejects = new RejectStore(fixture.postgres.pool);
  const reject = (docId: string, column: string | null = "age") => ({
    version: 1,
    docId,
    column,
    reason: "no integer \0",
    sample: '"x"',
  });
  await log.append(
    batchOf([], { rejects: [reject("a\0"), reject("a\0"), reject("b"), reject("b", null)] }),
    testSignal(),
  );
  await log.append(batchOf([], { rejects: [reject("b")] }), testSignal());
  expect(await rejects.count([1, 2])).toEqual(new Map([[1, 3]]));
  const listed = await rejects.list(1, 10);
  expect(listed).toHaveLength(3);
  expect(listed[0]).toMatchObject({ ...reject("b"), seenCount: 2 });
  await rejects.add(Array.from({ length: 2_500 }, (_, index) => reject(`many ${index}`)));
  expect(await rejects.count([1])).toEqual(new Map([[1, 2_503]]));
  expect(await rejects.list(1, 5_000)).toHaveLength(1_000);
  await log.append(batchOf([bracket("sync_start", 1)], { rejects: [reject("again")] }), testSignal());
  expect((await rejects.list(1, 10)).map(({ docId }) => docId)).toEqual(["again"]);
  expect(await rejects.count([1])).toEqual(new Map([[1, 1]]));
});

test("claims are replaced by name", async () => {
  const claims = new ClaimStore(fixture.postgres.pool);
  await claims.upsertClaim({ name: "a", kind: "cache", versions: [1, 2], position: 5 });
  await claims.upsertClaim({ name: "a", kind: "cache", versions: [2], position: 9 });
  await claims.upsertClaim({ name: "b", kind: "consumer", versions: [], position: 7 });
  expect((await claims.list()).map(({ name, position, versions }) => [name, position, versions])).toEqual([
    ["b", 7, []],
    ["a", 9, [2]],
  ]);
  await claims.removeClaim("b");
  expect(await claims.list()).toHaveLength(1);
});
