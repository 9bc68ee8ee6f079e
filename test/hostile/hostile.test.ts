import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EmcacheApi, type EntityRequest } from "../support/emcache-api.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { SeededRandom, seedOfRun } from "../support/seeded-random.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { startHostileApi } from "./hostile-api.ts";
import { anyRequest, malformedBytes, NASTY_TEXTS, slowBytes, traversalPath } from "./hostile-inputs.ts";
import { HostileTally } from "./hostile-tally.ts";
import { send, sendBytes } from "./raw-request.ts";
import { runSchemathesis } from "./schemathesis.ts";

/** `npm run hostile` sends 10,000 requests, `npm test` a tenth. */
const SHARE = process.env["EMCACHE_TEST_SCALE"] === "full" ? 1 : 0.1;
/** Requests at a time. */
const PARALLEL = 8;

const folder = useTestFolder("hostile");
const seed = seedOfRun();
const random = new SeededRandom(seed);
const tally = new HostileTally();
let emcache: EmcacheProcess;
let api: EmcacheApi;

const USERS: EntityRequest = {
  name: "users",
  client: "main",
  source: "users",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [{ name: "email", type: "string", path: "$.email" }],
    indexes: [{ name: "by_email", columns: ["email"] }],
  },
};

beforeAll(async () => {
  const sources = { main: { uri: "embedded", database: "main" } };
  emcache = await EmcacheProcess.start({ folder, sources, settings: { "logging.level": "info" } });
  api = new EmcacheApi(() => emcache.address);
  await api.createEntity(USERS);
  await api.waitUntilLive("users", 60_000);
});
afterAll(() => emcache.dispose());

/** Calls `work` `count` times, some at a time. */
async function times(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const loop = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: PARALLEL }, loop));
}

function rssMib(): number {
  const pages = Number(readFileSync(`/proc/${emcache.process.pid}/statm`, "utf8").split(" ")[1]);
  return (pages * 4096) / 2 ** 20;
}

function handles(): number {
  return readdirSync(`/proc/${emcache.process.pid}/fd`).length;
}

async function anyRequests(): Promise<void> {
  await times(Math.round(2_600 * SHARE), async () => {
    const { method, path, headers, body } = anyRequest(random);
    tally.add("any", `${method} ${path}`, await send(emcache.address, method, path, headers, body));
  });
}

async function traversals(): Promise<void> {
  const secret = /root:.*:0:0|^\d+\s*$|data_dir =|"workspaces"/;
  await times(Math.round(1_200 * SHARE), async () => {
    const path = traversalPath(random);
    const answer = await send(emcache.address, "GET", path);
    tally.add("traversal", path, answer);
    expect(answer.body, path).not.toMatch(secret);
  });
}

async function oversized(): Promise<void> {
  const large = Buffer.alloc(4 * 2 ** 20, "a");
  await times(Math.round(200 * SHARE), async (index) => {
    const [path, headers, body] = [
      ["/api/entities", { "content-type": "application/json" }, large] as const,
      ["/api/oplogs/batch", { "content-type": "application/json", "content-length": "99999999999" }, "{"] as const,
      [`/api/follow?after=0&versions=${"1&versions=".repeat(4_000)}1`, {}, ""] as const,
      ["/health", { "x-large": "a".repeat(200_000) }, ""] as const,
    ][index % 4] ?? ["/", {}, ""];
    const method = body === "" ? "GET" : "POST";
    tally.add("oversized", `${method} ${path.slice(0, 60)}`, await send(emcache.address, method, path, headers, body));
  });
}

async function malformed(): Promise<void> {
  await times(Math.round(700 * SHARE), async () => {
    const bytes = malformedBytes(random);
    tally.add("malformed", bytes.toString("latin1").slice(0, 80), await sendBytes(emcache.address, bytes));
  });
}

/** All at once: each holds a connection, and others are served meanwhile. */
async function slow(): Promise<void> {
  const all = Array.from({ length: Math.round(300 * SHARE) }, async () => {
    const bytes = slowBytes(random);
    tally.add("slow", JSON.stringify(bytes), await sendBytes(emcache.address, bytes));
  });
  const health = await send(emcache.address, "GET", "/health");
  expect(health).toMatchObject({ status: 200 });
  expect(health.ms).toBeLessThan(20_000);
  await Promise.all(all);
}

/** Every string of an entity's definition, and every text in each. What is taken is looked at and deleted again. */
async function injections(): Promise<void> {
  const places: readonly ((text: string) => object)[] = [
    (text) => ({ ...USERS, name: text }),
    (text) => ({ ...USERS, name: "made", client: text }),
    (text) => ({ ...USERS, name: "made", source: text }),
    (text) => ({ ...USERS, name: "made", filter: { [text]: text } }),
    (text) => ({ ...USERS, name: "made", filter: { a: { $regex: text } } }),
    (text) => ({ ...USERS, name: "made", on_drop: text }),
    (text) => withShape({ id_column: { path: text, type: "string" } }),
    (text) => withShape({ id_column: { path: "$._id", type: text } }),
    (text) => withShape({ columns: [{ name: text, type: "any", path: "$.a" }] }),
    (text) => withShape({ columns: [{ name: "a", type: text, path: "$.a" }] }),
    (text) => withShape({ columns: [{ name: "a", type: "any", path: text }] }),
    (text) => withShape({ indexes: [{ name: text, columns: ["email"] }] }),
    (text) => withShape({ indexes: [{ name: "x", columns: [text] }] }),
  ];
  const count = Math.round(places.length * NASTY_TEXTS.length * Math.min(1, SHARE * 2));
  // One after the other: they are all called `made`.
  for (let index = 0; index < count; index += 1) {
    const text = NASTY_TEXTS[Math.floor(index / places.length) % NASTY_TEXTS.length] ?? "";
    const definition = places[index % places.length]?.(text) as { readonly name: string };
    const json = { "content-type": "application/json" };
    const ask = async (method: string, path: string, body?: object): Promise<number> => {
      const answer = await send(emcache.address, method, path, json, body === undefined ? "" : JSON.stringify(body));
      tally.add("injection", `${method} ${path} ${JSON.stringify(body)}`, answer);
      return answer.status;
    };
    if ((await ask("POST", "/api/entities", definition)) !== 201) continue;
    const path = `/api/entities/${encodeURIComponent(definition.name)}`;
    await ask("GET", path);
    await ask("POST", `${path}/query`, { sql: `select * from "${definition.name}"` });
    await ask("DELETE", path);
  }
}

function withShape(changes: object): object {
  return { ...USERS, name: "made", shape: { ...USERS.shape, ...changes } };
}

async function queries(): Promise<void> {
  const beginnings = ["select ", "select * from ", "with x as (", "values (", "explain ", "", "pragma ", "attach "];
  await times(Math.round(500 * SHARE), async () => {
    const sql = random.pick(beginnings) + random.pick(NASTY_TEXTS);
    const body = JSON.stringify({
      sql,
      params: random.pick([[], [random.pick(NASTY_TEXTS)], { a: 1 }, { __proto__: 1 }]),
    });
    const headers = { "content-type": "application/json" };
    tally.add("sql", sql, await send(emcache.address, "POST", "/api/entities/users/query", headers, body));
  });
}

async function fuzzed(): Promise<void> {
  const memory = await startHostileApi();
  const { exitCode, caseCount, output } = await runSchemathesis(memory.url, folder, {
    examplesMax: Math.round(200 * SHARE),
    seed,
  });
  tally.addJudged("schemathesis", caseCount, [...(exitCode === 0 ? [] : [output]), ...memory.errors()]);
  await memory.close();
}

test("10,000 hostile requests: no server error, no hang, no leak", async () => {
  // What the first requests of each kind make once is no leak.
  const warm = new SeededRandom(1);
  for (let index = 0; index < 200; index += 1) {
    const { method, path, headers, body } = anyRequest(warm);
    await send(emcache.address, method, path, headers, body);
  }
  const before = { handles: handles(), rss: rssMib() };
  await anyRequests();
  await traversals();
  await oversized();
  await malformed();
  await injections();
  await queries();
  await slow();
  await eventually(
    () => handles() <= before.handles + 20,
    100_000,
    () => `${handles()} handles are open, there were ${before.handles}`,
  );
  const after = { handles: handles(), rss: rssMib() };
  await fuzzed();
  console.log(
    [
      `${tally.total} hostile requests, seed ${seed} (EMCACHE_TEST_SEED=${seed}; npm run hostile for 10,000)`,
      tally.table(),
      `open handles ${before.handles} before, ${after.handles} after; resident memory ${before.rss.toFixed(0)} MiB before, ${after.rss.toFixed(0)} MiB after`,
    ].join("\n"),
  );
  expect(tally.bad).toEqual([]);
  expect(emcache.logLines().filter(({ event }) => event === "request_failed")).toEqual([]);
  expect(emcache.logLines().filter(({ level }) => level === "fatal")).toEqual([]);
  expect(after.rss - before.rss).toBeLessThan(150);
  expect(tally.total).toBeGreaterThan(10_000 * SHARE * 0.9);
  // It is all there, and works.
  expect(await api.entity("users")).toMatchObject({ state: "live" });
  expect((await api.request("POST", "/api/entities/users/query", { sql: "select 1 one" })).body).toEqual({
    columns: ["one"],
    rows: [[1]],
    truncated: false,
  });
}, 1_800_000);
