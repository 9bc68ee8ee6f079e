import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { ClaimStore } from "./claim-store.ts";
import { ConsumerClaims } from "./consumer-claims.ts";
import { type LogFixture, startLogFixture, testLogger, testSignal, until } from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let store: ClaimStore;
let claims: ConsumerClaims;
let writes: number;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  writes = 0;
  store = new ClaimStore(fixture.postgres.pool);
  const upsertClaims = store.upsertClaims.bind(store);
  store.upsertClaims = (...given) => {
    writes += 1;
    return upsertClaims(...given);
  };
  claims = new ConsumerClaims({ store, logger: testLogger });
  await claims.start();
});
afterEach(async () => {
  await claims.stop(testSignal());
  await fixture.stop();
});

test("a new consumer's claim is stored at once, further ones together, and the last at the stop", async () => {
  claims.seen({ name: "billing", versions: [1, 2], position: 7 });
  await until(async () => (await store.list()).length === 1);
  expect(writes).toBe(1);
  for (let position = 8; position <= 500; position++) claims.seen({ name: "billing", versions: [1], position });
  expect(writes).toBeLessThanOrEqual(2);
  expect(await claims.list(testSignal())).toMatchObject([{ name: "billing", versions: [1], position: 500 }]);
  expect(writes).toBeLessThanOrEqual(3);
  claims.seen({ name: "billing", versions: [1], position: 501 });
  await claims.stop(testSignal());
  expect(await store.list()).toMatchObject([{ kind: "consumer", position: 501 }]);
});

test("a consumer can be forgotten, a cache's claim can't be taken for one", async () => {
  await store.upsertClaim({ name: "host:cache", kind: "cache", versions: [1], position: 3 });
  claims.seen({ name: "a", versions: [1], position: 1 });
  expect((await claims.list(testSignal())).map(({ name }) => name)).toEqual(["a"]);
  expect(await claims.remove("host:cache", testSignal())).toBe(false);
  expect(await claims.remove("a", testSignal())).toBe(true);
  expect(await claims.remove("a", testSignal())).toBe(false);
  expect((await store.list()).map(({ name }) => name)).toEqual(["host:cache"]);
  for (const name of ["", "host:cache", "a b", "x".repeat(201)])
    expect(() => claims.seen({ name, versions: [], position: 0 })).toThrow("is no name");
});

test("a failed write is tried again, and what came meanwhile counts", async () => {
  await fixture.postgres.pool.query("ALTER TABLE emcache.claim RENAME TO claim_away");
  claims.seen({ name: "a", versions: [1], position: 1 });
  await until(() => writes === 1);
  await expect(claims.list(testSignal())).rejects.toThrow("claim");
  await fixture.postgres.pool.query("ALTER TABLE emcache.claim_away RENAME TO claim");
  claims.seen({ name: "a", versions: [1], position: 2 });
  expect(await claims.list(testSignal())).toMatchObject([{ name: "a", position: 2 }]);
});
