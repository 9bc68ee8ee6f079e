import { join } from "node:path";
import { type LocalCache, openCache, type RowChange } from "@emcache/client";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EntityRequest } from "../support/emcache-api.ts";
import { eventually } from "../support/eventually.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

/** The client beside a whole EMCache: from a write in MongoDB to a row in the client's file. */
const DEADLINE_MS = 60_000;
const folder = useTestFolder("client-server");
const dir = join(folder, "client");
let system: TestSystem;
let cache: LocalCache;

const USERS: EntityRequest = {
  name: "users",
  client: "main",
  source: "users",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "email", type: "string", path: "$.email" },
      { name: "age", type: "integer", path: "$.age" },
    ],
    indexes: [],
  },
};

beforeAll(async () => {
  system = await TestSystem.start({ folder });
  const documents = Array.from({ length: 5000 }, (_, n) => ({ _id: `u${n}` as never, email: `${n}@x`, age: n % 90 }));
  await system.collection("users").insertMany(documents);
  await system.create(USERS);
  await system.create({ ...USERS, name: "people" });
  cache = await openCache({ url: system.emcache.address, dir, entities: ["users", "people"], consumer: "test" });
});
afterAll(async () => {
  await cache?.close();
  await system?.dispose();
});

test("starts from a snapshot and reads its own writes in both entities", async () => {
  expect(cache.query("SELECT count(*) AS n FROM users")).toEqual([{ n: 5000 }]);
  await system.collection("users").insertOne({ _id: "mine" as never, email: "me@x", age: 1 });
  await cache.waitFor({ time: Date.now() }, { timeoutMs: DEADLINE_MS });
  expect(cache.get("users", "mine")).toEqual({ id: "mine", email: "me@x", age: 1 });
  expect(cache.get("people", "mine")).toEqual({ id: "mine", email: "me@x", age: 1 });
});

test("subscribe tells what MongoDB's writes did to the rows", async () => {
  const changes: RowChange[] = [];
  await cache.subscribe("users", { where: { email: "me@x" } }, (change) => void changes.push(change));
  await system.collection("users").updateOne({ _id: "mine" as never }, { $set: { age: 2 } });
  const told = (count: number) =>
    eventually(
      () => changes.length === count,
      DEADLINE_MS,
      () => `${count} are told: ${JSON.stringify(changes)}`,
    );
  // Changes that become visible together are told as one.
  await told(1);
  await system.collection("users").deleteOne({ _id: "mine" as never });
  await told(2);
  expect(changes).toMatchObject([
    { before: { age: 1 }, after: { age: 2 } },
    { before: { age: 2 }, after: null },
  ]);
});

test("a changed shape is switched to, and told by reset", async () => {
  const reset = new Promise((resolve) => cache.once("reset", resolve));
  const columns = [...USERS.shape.columns, { name: "mail", type: "string" as const, path: "$.email" }];
  await system.api.call("PUT", "/api/entities/users", { ...USERS, shape: { ...USERS.shape, columns } });
  await reset;
  await cache.waitFor({ time: Date.now() }, { timeoutMs: DEADLINE_MS });
  expect(cache.get("users", "u7")).toEqual({ id: "u7", email: "7@x", age: 7, mail: "7@x" });
});

test("the server is killed: reads go on, the state is stale, then live again with what was written meanwhile", async () => {
  const url = new URL(system.emcache.address);
  system.emcache.configure({
    sources: { main: { uri: system.mongo.uri, database: system.mongo.databaseName } },
    settings: { "server.port": Number(url.port) },
  });
  await system.emcache.kill();
  await eventually(() => cache.status().state === "stale", DEADLINE_MS, "it is stale");
  expect(cache.get("users", "u1")).not.toBeNull();
  await system.collection("users").insertOne({ _id: "late" as never, email: "late@x", age: 3 });
  await system.emcache.restart();
  await eventually(
    () => cache.get("users", "late") !== null,
    DEADLINE_MS,
    () => JSON.stringify(cache.status()),
  );
  await eventually(
    () => cache.status().state === "live",
    DEADLINE_MS,
    () => JSON.stringify(cache.status()),
  );
});
