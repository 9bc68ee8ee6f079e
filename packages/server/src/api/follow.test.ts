import type { OplogEntry, Problem } from "@emcache/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

let api: TestApi;
beforeEach(async () => {
  api = await new TestApi().start();
  await api.add(USERS, "live");
  await api.add({ ...USERS, name: "products" }, "live");
});
afterEach(() => api.close());

interface Answer {
  readonly log_id: string;
  readonly floor: number;
  readonly head: number;
  readonly position: number;
  readonly tag: string;
  readonly has_more: boolean;
  readonly versions: Record<string, string>;
  readonly entries: readonly OplogEntry[];
}

async function follow(query: string, init?: RequestInit): Promise<Answer> {
  const response = await api.request(`/api/follow?${query}`, init);
  expect(response.status, query).toBe(200);
  return (await response.json()) as Answer;
}

async function refused(query: string): Promise<Problem> {
  const response = await api.request(`/api/follow?${query}`);
  expect(response.status, query).toBeGreaterThanOrEqual(400);
  return (await response.json()) as Problem;
}

/** Resolves once so many requests wait. */
async function untilWaiting(count: number): Promise<void> {
  await eventually(() => api.hub.waiterCount === count, 30_000, `${count} requests wait`);
}

test("gives the rows of the versions after a position, and where to go on", async () => {
  for (let index = 1; index <= 5; index++) api.oplog.append(1 + (index % 2), "upsert", `d${index}`, `[${index}]`);
  const first = await follow("after=0&versions=2&limit=2");
  expect(first).toMatchObject({ log_id: "log-1", floor: 1, position: 3, tag: "tag-3", has_more: true });
  expect(first.versions).toEqual({ 2: "live" });
  expect(first.entries.map(({ id, entity, version }) => [id, entity, version])).toEqual([
    [1, "products", 2],
    [3, "products", 2],
  ]);
  expect(first.entries[0]).toEqual({
    id: 1,
    operation: "upsert",
    doc_id: "d1",
    id_type: 2,
    entity: "products",
    version: 2,
    origin: "stream",
    transaction: null,
    transaction_end: false,
    data: [1],
    created_at: "2026-01-02T03:04:05.678Z",
  });
  const next = await follow(`after=${first.position}&versions=2&log_id=${first.log_id}&tag=${first.tag}`);
  expect(next).toMatchObject({ position: 5, has_more: false, head: 5 });
  expect(next.entries.map(({ id }) => id)).toEqual([5]);
  const both = await follow("after=0&versions=1&versions=2");
  expect(both.entries).toHaveLength(5);
});

test("waits for the first row of its versions, and answers with nothing when its time is over", async () => {
  api.oplog.append(1, "upsert", "a", "[1]");
  const waiting = follow("after=1&versions=1&wait_ms=60000");
  await untilWaiting(1);
  api.oplog.append(2, "upsert", "other", "[1]");
  api.hub.wake(2);
  api.oplog.append(1, "upsert", "b", "[1]");
  api.hub.wake(3);
  expect(await waiting).toMatchObject({ position: 3, tag: "tag-3", entries: [{ id: 3, doc_id: "b" }] });
  expect(await follow("after=3&versions=1&wait_ms=20")).toMatchObject({ position: 3, tag: "tag-3", entries: [] });
});

test("a hundred who wait cost one read of the log for each page", async () => {
  api.oplog.append(1, "upsert", "a", "[1]");
  await follow("after=0&versions=1&wait_ms=1000");
  const waiting = Array.from({ length: 100 }, () => follow("after=1&versions=1&wait_ms=60000"));
  await untilWaiting(100);
  const before = api.oplog.pageCount;
  api.oplog.append(1, "upsert", "b", "[1]");
  api.hub.wake(2);
  const answers = await Promise.all(waiting);
  expect(answers.every(({ entries }) => entries[0]?.doc_id === "b")).toBe(true);
  expect(api.oplog.pageCount - before).toBe(1);
});

test("a reader of another history is refused", async () => {
  api.oplog.append(1, "upsert", "a", "[1]");
  for (const query of [
    "after=1&versions=1&log_id=log-2",
    "after=1&versions=1&tag=x",
    "after=0&versions=1&tag=tag-0",
    "after=2&versions=1",
    "after=2&versions=1&wait_ms=60000&tag=tag-2",
  ]) {
    expect(await refused(query), query).toMatchObject({ status: 409, code: "history_mismatch", log_id: "log-1" });
  }
  expect((await follow("after=1&versions=1&tag=tag-1&log_id=log-1")).entries).toEqual([]);
});

test("too old a position is told the floor and the snapshot to start from", async () => {
  for (let index = 1; index <= 60; index++) api.oplog.append(1, "upsert", `d${index}`, "[1]");
  api.oplog.floor = 40;
  api.makeSnapshot(Buffer.from("SQLite format 3\0"));
  expect(await refused("after=3&versions=1&versions=2&wait_ms=100")).toMatchObject({
    status: 410,
    code: "position_too_old",
    floor: 40,
    snapshots: [{ entity: "users", version: 1, position: 42, url: "/api/snapshots/users?version=1" }],
  });
});

test("mistakes are told, and unknown versions", async () => {
  expect(await refused("after=0&versions=9&versions=1")).toMatchObject({ status: 404, code: "entity_not_found" });
  for (const query of ["versions=1", "after=0", "after=-1&versions=1", "after=0&versions=x", "after=0&versions="]) {
    expect((await refused(query)).status, query).toBe(400);
  }
  expect((await refused("after=0&versions=1&wait_ms=60001")).status).toBe(400);
});

test("who waits is answered when its version is replaced", async () => {
  api.store.listsRetired = true;
  const waiting = follow("after=0&versions=1&wait_ms=60000");
  const other = follow("after=0&versions=2&wait_ms=200");
  await untilWaiting(2);
  await api.add({ ...USERS, source: "people" }, "live");
  expect(await waiting).toMatchObject({ versions: { 1: "retired" }, entries: [] });
  expect((await other).versions).toEqual({ 2: "live" });
  api.oplog.append(1, "upsert", "late", "[1]");
  expect(await follow("after=0&versions=1&versions=3")).toMatchObject({ versions: { 1: "retired", 3: "live" } });
});

test("a client that goes away gives its place up", async () => {
  const gone = new AbortController();
  const waiting = follow("after=0&versions=1&wait_ms=60000", { signal: gone.signal });
  await untilWaiting(1);
  gone.abort();
  await expect(waiting).rejects.toThrow("aborted");
  await untilWaiting(0);
});

test("the server's stop ends the waits at once, with a whole answer", async () => {
  const waiting = follow("after=0&versions=1&wait_ms=60000");
  await untilWaiting(1);
  await api.server.stop(AbortSignal.timeout(30_000));
  expect(await waiting).toMatchObject({ position: 0, entries: [] });
});

test("while PostgreSQL is away who waits is told to come back", async () => {
  const { EmcacheError } = await import("@emcache/protocol");
  const waiting = api.request("/api/follow?after=0&versions=1&wait_ms=60000");
  await untilWaiting(1);
  api.oplog.failure = new EmcacheError("postgres_unavailable", "away");
  api.hub.wake(1);
  const response = await waiting;
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("1");
});

test("a full page never changes, and says so; another one is not kept", async () => {
  for (let index = 1; index <= 6; index++) api.oplog.append(1 + (index % 2), "upsert", `d${index}`, `[${index}]`);
  const full = "/api/logs/log-1/entities/1/pages?after=0&limit=2";
  const first = await api.request(full);
  expect(first.status).toBe(200);
  expect(first.headers.get("cache-control")).toBe("private, max-age=31536000, immutable");
  const etag = first.headers.get("etag") ?? "";
  const text = await first.text();
  expect(JSON.parse(text)).toMatchObject({
    position: 4,
    tag: "tag-4",
    has_more: true,
    entries: [{ id: 2 }, { id: 4 }],
  });
  api.oplog.append(1, "upsert", "later", "[1]");
  api.oplog.floor = 2;
  await api.makeLive(await api.add({ ...USERS, source: "people" }, "pending"));
  api.store.listsRetired = true;
  await api.registry.refresh();
  expect(await (await api.request(full)).text()).toBe(text);
  expect((await api.request(full, { headers: { "if-none-match": etag } })).status).toBe(304);
  const partial = await api.request("/api/logs/log-1/entities/1/pages?after=4&limit=9");
  expect(partial.headers.get("cache-control")).toBe("no-store");
  expect(await partial.json()).toMatchObject({ position: 7, has_more: false });
  expect((await api.request("/api/logs/log-2/entities/1/pages?after=0")).status).toBe(409);
  expect((await api.request("/api/logs/log-1/entities/77/pages?after=1")).status).toBe(404);
});

test("a consumer that names itself is listed with what it has, and can be forgotten", async () => {
  for (let index = 1; index <= 3; index++) api.oplog.append(1, "upsert", `d${index}`, "[1]");
  const headers = { "emcache-consumer": "billing.1" };
  await follow("after=1&versions=1&versions=2", { headers });
  expect(await (await api.request("/api/consumers")).json()).toMatchObject([
    {
      name: "billing.1",
      entities: ["users", "products"],
      versions: [1, 2],
      position: 1,
      lag_entries: 2,
      is_expired: false,
    },
  ]);
  await api.request("/api/oplogs/users?after=2", { headers });
  await api.request("/api/oplogs?from=3&limit=1&entities=users", { headers: { "emcache-consumer": "go" } });
  const listed = (await (await api.request("/api/consumers")).json()) as { name: string; position: number }[];
  expect(listed.map(({ name, position }) => [name, position])).toEqual([
    ["billing.1", 2],
    ["go", 3],
  ]);
  expect((await api.request("/api/consumers/billing.1", { method: "DELETE" })).status).toBe(200);
  expect((await api.request("/api/consumers/billing.1", { method: "DELETE" })).status).toBe(404);
});
