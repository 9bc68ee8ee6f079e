import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSnapshot, CacheFile } from "@emcache/cache-file";
import { openCache } from "@emcache/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

/** Our client on this API: its own tests have a server of their own, so this is where both are held together. */
const DEADLINE_MS = 30_000;
let api: TestApi;

beforeEach(async () => {
  api = await new TestApi().start();
  await api.add(USERS, "live");
  api.oplog.append(1, "sync_start");
  for (let row = 2; row < 42; row += 1) api.oplog.append(1, "upsert", `u${row}`, `["${row}@x","n",${row}]`);
  api.oplog.append(1, "sync_end");
  const entity = api.registry.find(1)?.entity;
  if (entity === undefined) throw new Error("there is no entity");
  const cache = CacheFile.open(join(api.folder, "cache.db"), { entity, logId: "log-1" });
  cache.apply(api.oplog.rows, { position: 42, tag: "tag-42" });
  cache.close();
  buildSnapshot(cache.path, join(api.folder, "built.db"));
  api.makeSnapshot(readFileSync(join(api.folder, "built.db")));
});
afterEach(() => api.close());

test("starts from its snapshot, is told of new rows by its long poll, and says who it is", async () => {
  const options = { url: api.url, dir: join(api.folder, "client"), entities: ["users"], consumer: "shop" };
  await using cache = await openCache(options);
  expect(cache.query("SELECT count(*) AS n FROM users")).toEqual([{ n: 40 }]);
  await eventually(() => api.hub.waiterCount === 1, DEADLINE_MS, "it waits");
  api.oplog.append(1, "upsert", "new", '["new@x","n",9007199254740993]');
  api.hub.wake(43);
  await cache.waitFor(43);
  expect(cache.get("users", "new")).toMatchObject({ email: "new@x", age: 9007199254740993n });
  expect(api.consumers.claims.has("shop")).toBe(true);
  expect(cache.status().entities["users"]).toMatchObject({ state: "live", position: 43, resets: 0, error: null });
});

test("starts anew where the log no longer holds its position", async () => {
  const options = { url: api.url, dir: join(api.folder, "client"), entities: ["users"] };
  await (await openCache(options)).close();
  for (let row = 43; row <= 50; row += 1) api.oplog.append(1, "upsert", `u${row}`, '["x","n",1]');
  api.oplog.floor = 45;
  await using cache = await openCache(options);
  const status = (): unknown => cache.status().entities["users"];
  await eventually(
    () => (status() as { state: string }).state === "resetting",
    DEADLINE_MS,
    () => JSON.stringify(status()),
  );
  expect(cache.query("SELECT count(*) AS n FROM users")).toEqual([{ n: 40 }]);
  api.oplog.floor = 43;
  await cache.waitFor(50, { timeoutMs: DEADLINE_MS });
  expect(cache.query("SELECT count(*) AS n FROM users")).toEqual([{ n: 48 }]);
});
