import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { useTestFolder } from "../../../test/support/use-test-folder.ts";
import type { RowChange } from "./follow-report.ts";
import type { LocalCache } from "./local-cache.ts";
import { openCache, type OpenCacheOptions } from "./open-cache.ts";
import { RowReaders } from "./row-readers.ts";
import { SHAPE } from "./testing/test-log.ts";
import { TestServer } from "./testing/test-server.ts";

const DEADLINE_MS = 30_000;
const folder = useTestFolder("local-cache");
let server: TestServer;
let dir: string;
let folders = 0;
let cache: LocalCache | null = null;

async function open(entities: readonly string[], options: Partial<OpenCacheOptions> = {}): Promise<LocalCache> {
  cache = await openCache({ url: server.url, dir, entities, staleAfterMs: 200, ...options });
  return cache;
}

beforeEach(async () => {
  dir = join(folder, `dir-${(folders += 1)}`);
  server = await TestServer.start();
  server.log.define("users", { a: '["a@x",1]', b: '["b@x",2]' });
  server.log.define("orders", { o1: '["a",10]' });
});
afterEach(async () => {
  await cache?.close();
  cache = null;
  await server.stop();
});

test("reads: db, query over several entities, get; nothing can be written", async () => {
  const cache = await open(["users", "orders"]);
  expect(cache.db("users").prepare("SELECT count(*) AS n FROM users").get()).toEqual({ n: 2 });
  const joined = "SELECT u.id, o.age FROM users u JOIN orders o ON o.email = u.id WHERE o.age > ?";
  expect(cache.query(joined, 5)).toEqual([{ id: "a", age: 10 }]);
  expect(cache.get("users", "b")).toEqual({ id: "b", email: "b@x", age: 2 });
  expect(cache.get("users", "nobody")).toBeNull();
  expect(() => cache.db("users").exec("DELETE FROM data")).toThrow("readonly");
  expect(() => cache.query("DELETE FROM users.data RETURNING id")).toThrow("readonly");
  expect(() => cache.db("items")).toThrow("without the entity");
});

test("integers keep all their digits: a bigint where a number can't hold them", async () => {
  server.log.append("users", { docId: "c", data: '["c",9007199254740993]' });
  const cache = await open(["users"]);
  await cache.waitFor(server.log.head);
  expect(cache.get("users", "c")?.["age"]).toBe(9007199254740993n);
  expect(cache.get("users", "a")?.["age"]).toBe(1);
});

test("waitFor: what was written before can be read in all entities", async () => {
  const cache = await open(["users", "orders"]);
  server.log.append("users", { docId: "n", data: '["n",1]' });
  const position = server.log.append("orders", { docId: "n", data: '["n",1]' });
  await cache.waitFor(position);
  expect(cache.get("users", "n")).not.toBeNull();
  expect(cache.get("orders", "n")).not.toBeNull();
  server.log.append("users", { docId: "m", data: '["m",1]' });
  await cache.waitFor({ time: Date.now() });
  expect(cache.get("users", "m")).not.toBeNull();
  const never = cache.waitFor(server.log.head + 1, { timeoutMs: 50 });
  await expect(never).rejects.toMatchObject({ code: "wait_timed_out" });
  const abort = new AbortController();
  const aborted = cache.waitFor(server.log.head + 1, { signal: abort.signal, entities: ["users"] });
  abort.abort(new Error("enough"));
  await expect(aborted).rejects.toThrow("enough");
});

test("waitFor a time waits while the source's news is older than that", async () => {
  const cache = await open(["users"]);
  server.lagMs = null;
  const waiting = cache.waitFor({ time: Date.now() });
  const asked = server.requests.length;
  await eventually(() => server.requests.length > asked + 2, DEADLINE_MS, "it asks");
  server.log.append("users", { docId: "late", data: '["late",1]' });
  server.lagMs = 0;
  await waiting;
  expect(cache.get("users", "late")).not.toBeNull();
});

test("subscribe: changes with before and after, within a where", async () => {
  const cache = await open(["users"]);
  const all: RowChange[] = [];
  const old: RowChange[] = [];
  const one: RowChange[] = [];
  const subscription = await cache.subscribe("users", {}, (change) => void all.push(change));
  await cache.subscribe("users", { where: (row) => Number(row["age"]) >= 18 }, (change) => void old.push(change));
  await cache.subscribe("users", { where: { email: "b@x" } }, (change) => void one.push(change));
  expect(subscription.position).toBe(server.log.head);
  server.log.append("users", { docId: "a", data: '["a@x",18]' });
  server.log.append("users", { docId: "b", operation: "delete" });
  await eventually(() => all.length === 2 && one.length === 1, DEADLINE_MS, "all is told");
  expect(all[0]).toMatchObject({ id: "a", before: { age: 1 }, after: { age: 18 } });
  expect(old).toMatchObject([{ id: "a", before: null, after: { age: 18 } }]);
  expect(one).toMatchObject([{ id: "b", before: { age: 2 }, after: null }]);
  subscription.close();
  server.log.append("users", { docId: "a", data: '["a@x",17]' });
  await eventually(() => old.length === 2, DEADLINE_MS, "the others are told");
  expect(old[1]).toMatchObject({ id: "a", before: { age: 18 }, after: null });
  expect(all).toHaveLength(2);
});

test("watch: evaluated again only when a table that it reads changed", async () => {
  const cache = await open(["users", "orders"]);
  await eventually(() => cache.status().state === "live", DEADLINE_MS, "the news of the opening are over");
  const results: (readonly object[])[] = [];
  const queries = vi.spyOn(RowReaders.prototype, "query");
  const end = cache.watch("SELECT count(*) AS n FROM users WHERE age > ?", [1], (rows) => void results.push(rows));
  expect(results).toEqual([[{ n: 1 }]]);
  expect(queries).toHaveBeenCalledTimes(1);
  await cache.waitFor(server.log.append("orders", { docId: "o2", data: '["b",1]' }));
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  expect(queries).toHaveBeenCalledTimes(1);
  server.log.append("users", { docId: "c", data: '["c@x",3]' });
  await eventually(() => results.length === 2, DEADLINE_MS, "the query is told again");
  expect(results[1]).toEqual([{ n: 2 }]);
  expect(queries).toHaveBeenCalledTimes(2);
  queries.mockRestore();
  end();
  expect(() => cache.watch("SELECT missing FROM users", [], () => {})).toThrow("no such column");
});

test("a listener that throws is told as an error, and ends nothing", async () => {
  const cache = await open(["users"]);
  const errors: unknown[] = [];
  cache.on("error", (error) => errors.push(error));
  await cache.subscribe("users", {}, () => {
    throw new Error("mine");
  });
  server.log.append("users", { docId: "a", data: '["z",1]' });
  await eventually(() => errors.length === 1, DEADLINE_MS, "the error is told");
  await cache.waitFor(server.log.append("users", { docId: "a", data: '["y",1]' }));
});

test("events: live, stale, live again, reset; and connections to the new file", async () => {
  const cache = await open(["users"]);
  const events: string[] = [];
  for (const name of ["live", "stale", "reset"] as const) cache.on(name, () => void events.push(name));
  await eventually(() => cache.status().state === "live", DEADLINE_MS, "it is live");
  await server.stop();
  await eventually(() => cache.status().state === "stale", DEADLINE_MS, "it is stale");
  expect(cache.status().entities["users"]?.error).toMatchObject({ code: "server_unreachable" });
  expect(cache.get("users", "a")).not.toBeNull();
  await server.listen();
  await eventually(() => cache.status().state === "live", DEADLINE_MS, "it is live again");
  const former = cache.db("users");
  server.log.define("users", { q: '["q",1]' });
  await eventually(() => events.includes("reset"), DEADLINE_MS, "it was reset");
  expect(cache.get("users", "q")).not.toBeNull();
  expect(cache.db("users").prepare("SELECT id FROM users").all()).toEqual([{ id: "q" }]);
  expect(former.prepare("SELECT id FROM users").all()).toHaveLength(2);
  expect(events.filter((name) => name !== "live")[0]).toBe("stale");
});

test("worker threads read by path", async () => {
  const cache = await open(["users"]);
  const source = `
    const { parentPort, workerData } = require("node:worker_threads");
    const Database = require("better-sqlite3");
    const database = new Database(workerData, { readonly: true });
    parentPort.postMessage(database.prepare("SELECT id FROM users ORDER BY id").all());
    database.close();`;
  const worker = new Worker(source, { eval: true, workerData: cache.path("users") });
  const rows = await new Promise((resolve) => worker.once("message", resolve));
  expect(rows).toEqual([{ id: "a" }, { id: "b" }]);
});

test("opening: the server away and no files is waited for until the signal; a second client is refused", async () => {
  await server.stop();
  const abort = new AbortController();
  const opening = openCache({ url: server.url, dir, entities: ["users"], signal: abort.signal });
  abort.abort(new Error("enough"));
  await expect(opening).rejects.toThrow("enough");
  await server.listen();
  await open(["users"]);
  await expect(openCache({ url: server.url, dir, entities: ["users"] })).rejects.toMatchObject({
    code: "directory_locked",
  });
  const missing = openCache({ url: server.url, dir: `${dir}-2`, entities: ["nothing"] });
  await expect(missing).rejects.toMatchObject({ code: "entity_not_found" });
});

test("after close everything says that it is closed, and the next opening has the rows at once", async () => {
  const first = await open(["users"]);
  const waiting = first.waitFor(1_000_000);
  const closing = first.close();
  await expect(waiting).rejects.toMatchObject({ code: "client_closed" });
  await closing;
  expect(() => first.get("users", "a")).toThrow("closed");
  await server.stop();
  const second = await open(["users"]);
  expect(second.get("users", "a")).toEqual({ id: "a", email: "a@x", age: 1 });
});

test("types of rows", async () => {
  const { rowTypes } = await import("./row-types.ts");
  const entity = { id: 3, name: "order_lines", client: "main", source: "o", shape: SHAPE, created_at: "" };
  const text = rowTypes([entity]);
  expect(text).toContain("export interface OrderLinesRow {");
  expect(text).toContain('readonly "age": number | null;');
  expect(text).toContain("readonly order_lines: OrderLinesRow;");
  expect(rowTypes([entity], { exactIntegers: true })).toContain('readonly "age": number | bigint | null;');
});
