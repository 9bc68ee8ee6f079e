import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { CommitSignal } from "./commit-signal.ts";
import { openTokenStore } from "./open-token-store.ts";
import { TokenDirectory } from "./token-directory.ts";
import { TokenStore } from "./token-store.ts";
import { type LogFixture, startLogFixture, testLogger, testSignal, until } from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let store: TokenStore;
let changes = 0;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  changes = 0;
  store = new TokenStore({ pool: fixture.postgres.pool, onChange: () => changes++ });
});
afterEach(() => fixture.stop());

const READER = { name: "reader", scope: "read" as const, entities: ["users", "orders_*"], expiresAt: null };

test("a token is told once, and stored by its SHA-256 only", async () => {
  const { token, info } = await store.create(READER, testSignal());
  expect(token).toMatch(/^emcache_[\w-]{43}$/);
  expect(info).toMatchObject({ name: "reader", scope: "read", entities: ["users", "orders_*"], expires_at: null });
  const { rows } = await fixture.postgres.pool.query<{ all: string }>(
    "SELECT json_agg(t)::text AS all FROM emcache.access_token t",
  );
  expect(rows[0]?.all).not.toContain(token.slice("emcache_".length));
  expect(JSON.stringify(info)).not.toContain(token);
  expect((await store.create({ ...READER, name: "second" }, testSignal())).token).not.toBe(token);
  await expect(store.create(READER, testSignal())).rejects.toMatchObject({ code: "token_exists" });
  expect((await store.list(testSignal())).map(({ name }) => name)).toEqual(["reader", "second"]);
  expect(await store.revoke("second", testSignal())).toBe(true);
  expect(await store.revoke("second", testSignal())).toBe(false);
  expect(changes).toBe(3);
});

test("known tokens count while PostgreSQL is away; before it was reached nobody is told that a token is none", async () => {
  const { token } = await store.create(READER, testSignal());
  let failure: Error | null = new Error("away");
  const directory = new TokenDirectory({
    store: {
      list: (signal) => (failure === null ? store.list(signal) : Promise.reject(failure)),
    },
    logger: testLogger,
  });
  await directory.start();
  expect(() => directory.find(token)).toThrow(expect.objectContaining({ code: "postgres_unavailable" }));
  failure = null;
  await directory.refresh();
  expect(directory.find(token)).toMatchObject({ name: "reader" });
  expect(directory.find(`${token}x`)).toBeNull();
  failure = new Error("away again");
  await expect(directory.refresh()).rejects.toThrow("away again");
  expect(directory.find(token)).toMatchObject({ name: "reader" });
  failure = null;
  await store.revoke("reader", testSignal());
  await directory.refresh();
  expect(directory.find(token)).toBeNull();
  await directory.stop();
});

test("an expired token is none", async () => {
  const directory = new TokenDirectory({ store, logger: testLogger });
  const soon = new Date(Date.now() + 300).toISOString();
  const { token } = await store.create({ ...READER, expiresAt: soon }, testSignal());
  await directory.refresh();
  expect(directory.find(token)).not.toBeNull();
  await until(() => directory.find(token) === null);
  await directory.stop();
});

test("a command beside running processes uses their PostgreSQL, and they hear of it at once", async () => {
  const signal = new CommitSignal({ postgres: fixture.postgres, logger: testLogger });
  let heard = 0;
  signal.onRegistryChange(() => (heard += 1));
  await signal.start();
  await until(() => heard > 0);
  const before = heard;
  const opened = await openTokenStore({
    uri: fixture.uri,
    dataDir: "/nonexistent",
    maxConnections: 2,
    connectionTimeoutS: 10,
    logger: testLogger,
  });
  await opened.store.create(READER, testSignal());
  await opened.close();
  await until(() => heard > before);
  await signal.stop();
  expect((await store.list(testSignal())).map(({ name }) => name)).toEqual(["reader"]);
});

test("a database that no process has seen yet gets its schema", async () => {
  const opened = await openTokenStore({
    uri: await server.newDatabase(),
    dataDir: "/nonexistent",
    maxConnections: 2,
    connectionTimeoutS: 10,
    logger: testLogger,
  });
  await opened.store.create(READER, testSignal());
  expect(await opened.store.list(testSignal())).toHaveLength(1);
  await opened.close();
});
