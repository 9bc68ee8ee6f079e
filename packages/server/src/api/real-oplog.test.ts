import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { EntityRegistry } from "../entity/entity-registry.ts";
import { ClaimStore } from "../oplog/claim-store.ts";
import { ConsumerClaims } from "../oplog/consumer-claims.ts";
import { OplogReader } from "../oplog/oplog-reader.ts";
import { PostgresEntityStore } from "../oplog/postgres-entity-store.ts";
import { RejectStore } from "../oplog/reject-store.ts";
import { Retention } from "../oplog/retention.ts";
import {
  type LogFixture,
  batchOf,
  bracket,
  startLogFixture,
  testLogger,
  testSignal,
  upsert,
} from "../oplog/testing/log-fixture.ts";
import { startTcpProxy } from "../oplog/testing/tcp-proxy.ts";
import { HealthRegistry } from "../runtime/health-registry.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

let server: TestPostgres;
let fixture: LogFixture;

beforeAll(async () => {
  server = await startTestPostgres();
  fixture = await startLogFixture(server);
});

afterAll(async () => {
  await fixture.stop();
  await server.stop();
});

interface Answer {
  readonly entries: { readonly id: number; readonly entity: string; readonly data: unknown }[];
  readonly position: number;
  readonly tag: string;
  readonly log_id: string;
}

test("the routes over a real log; what goes on when its PostgreSQL is gone", async () => {
  const proxy = await startTcpProxy(fixture.uri);
  const postgres = await fixture.connect(proxy.uri);
  const registry = new EntityRegistry({
    store: new PostgresEntityStore({ pool: postgres.pool, onChange: () => undefined }),
    refreshIntervalMs: 60_000,
    logger: testLogger,
    health: new HealthRegistry().component("registry"),
    storeTimeoutMs: 2000,
  });
  await registry.refresh();
  const api = await new TestApi({
    registry,
    oplog: new OplogReader(postgres.pool),
    rejects: new RejectStore(postgres.pool),
  }).start();
  try {
    expect((await api.send("POST", "/api/entities", USERS)).status).toBe(201);
    expect((await api.send("POST", "/api/entities", USERS)).status).toBe(409);
    expect((await api.send("POST", "/api/entities", { ...USERS, name: "products" })).status).toBe(201);
    const [users, products] = registry.list().map(({ entity }) => entity.id) as [number, number];
    const log = await fixture.log("main");
    const data = { ...upsert("a", users), data: '["x",12345678901234567890,"\\u0000"]' };
    await log.append(batchOf([bracket("sync_start", users), data, upsert("p", products)]), testSignal());
    await log.append(batchOf([bracket("sync_end", users), upsert("b", users)]), testSignal());
    await registry.refresh();

    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({ state: "live", rejects: 0 });
    const text = await (await api.request("/api/oplogs/users")).text();
    expect(text).toContain('"data":["x",12345678901234567890,"\\u0000"]');
    const all = JSON.parse(text) as Answer;
    expect(all.entries.map(({ id }) => id)).toEqual([1, 2, 4, 5]);
    const both = (await (
      await api.send("POST", "/api/oplogs/batch", { entities: ["users", "products"], limit: 2, offset: 1 })
    ).json()) as Answer;
    expect(both.entries.map(({ id, entity }) => [id, entity])).toEqual([
      [2, "users"],
      [3, "products"],
    ]);
    const next = `/api/oplogs/users?after=${both.position}&tag=${both.tag}&log_id=${both.log_id}`;
    expect(((await (await api.request(next)).json()) as Answer).entries.map(({ id }) => id)).toEqual([4, 5]);
    expect((await api.request(`${next}x`)).status).toBe(409);
    expect(
      await (await api.request("/api/oplogs?from=3&limit=10&entities=users&entities=products")).json(),
    ).toMatchObject([
      { id: 4, operation: "sync_end", doc_id: "" },
      { id: 5, doc_id: "b", data: ["b"] },
    ]);
    expect(await (await api.request("/api/oplogs/status")).json()).toMatchObject({ max_id: 5, floor: 1, waiting: 0 });

    await proxy.stop();
    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({ state: "live", rejects: null });
    for (const path of ["/api/oplogs/users", "/api/oplogs?from=0&limit=1&entities=users", "/api/oplogs/status"]) {
      expect((await api.request(path)).status, path).toBe(503);
    }
    expect((await api.send("POST", "/api/entities", { ...USERS, name: "later" })).status).toBe(503);
    expect((await api.request("/api/entities/users", { method: "DELETE" })).status).toBe(503);
  } finally {
    await api.close();
    await registry.stop(AbortSignal.abort());
    await proxy.stop();
  }
});

test("a consumer that names itself keeps the log for itself until it is forgotten; one that is late is told where to start", async () => {
  const own = await startLogFixture(server);
  const { pool } = own.postgres;
  const registry = new EntityRegistry({
    store: new PostgresEntityStore({ pool, onChange: () => undefined }),
    refreshIntervalMs: 60_000,
    logger: testLogger,
    health: new HealthRegistry().component("registry"),
  });
  await registry.refresh();
  const consumers = new ConsumerClaims({ store: new ClaimStore(pool), logger: testLogger });
  const api = await new TestApi({ registry, oplog: own.reader, consumers }).start();
  const options = { pool, ageS: 86_400, rowsMax: 20, rowsHardMax: 10_000, claimTtlS: 3_600, logger: testLogger };
  const retention = new Retention({ ...options, health: new HealthRegistry().component("retention") });
  const log = await own.log("main");
  const fill = async (): Promise<void> => {
    for (let batch = 0; batch < 12; batch++) {
      await log.append(batchOf(Array.from({ length: 5 }, (_, row) => upsert(`${batch} ${row}`, 1))), testSignal());
      await retention.runOnce(testSignal());
    }
  };
  try {
    await api.send("POST", "/api/entities", USERS);
    await fill();
    const { floor } = await own.reader.head();
    expect(floor).toBeGreaterThan(20);
    const headers = { "emcache-consumer": "billing" };
    const follow = `/api/follow?versions=1&after=${floor + 3}&wait_ms=1000`;
    const { tag } = (await (await api.request(follow, { headers })).json()) as Answer;
    expect(tag).toMatch(/^[0-9a-f]{16}$/);
    // The claim is stored before the next look of retention.
    expect(await (await api.request("/api/consumers")).json()).toMatchObject([
      { name: "billing", position: floor + 3 },
    ]);
    await fill();
    expect((await own.reader.head()).floor).toBeLessThanOrEqual(floor + 4);
    expect((await api.request(follow, { headers })).status).toBe(200);
    await api.request("/api/consumers/billing", { method: "DELETE" });
    await retention.runOnce(testSignal());
    const late = await api.request(follow);
    expect(late.status).toBe(410);
    expect(await late.json()).toMatchObject({ code: "position_too_old", snapshots: [] });
  } finally {
    await api.close();
    await consumers.stop(testSignal());
    await registry.stop(AbortSignal.abort());
    await own.stop();
  }
});
