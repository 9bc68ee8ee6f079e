import { EmcacheError } from "@emcache/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Access } from "./access.ts";
import { buildApiApplication } from "./api-application.ts";
import type { Authenticator } from "./authenticator.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

/** A token is `SCOPE:PATTERNS`; those in `revoked` count no more. */
const revoked = new Set<string>();
const authenticator: Authenticator = {
  isRequired: true,
  async authenticate(token) {
    const [scope, patterns] = token?.split("~") ?? [];
    if (token === null || revoked.has(token) || (scope !== "read" && scope !== "write" && scope !== "admin")) {
      throw new EmcacheError("unauthorized", "no such token");
    }
    const entities = (patterns ?? "").split("+").map((pattern) => pattern.replace("any", "*").replace("one", "?"));
    return new Access({ name: token, scope, entities, isCurrent: () => !revoked.has(token) });
  },
};

let api: TestApi;
beforeEach(async () => {
  revoked.clear();
  api = await new TestApi({ authenticator, queries: { run: () => Promise.resolve("hush") } }).start();
  await api.add(USERS, "live");
  await api.add({ ...USERS, name: "secrets" }, "live");
  api.oplog.append(1, "upsert", "u", "[1]");
  api.oplog.append(2, "upsert", "s", '["hush"]');
  api.makeSnapshot(Buffer.from("SQLite format 3"));
});
afterEach(() => api.close());

function request(token: string | null, method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  return api.request(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

async function statusOf(token: string | null, method: string, path: string, body?: unknown): Promise<number> {
  const response = await request(token, method, path, body);
  await response.body?.cancel();
  return response.status;
}

/** Every route that names an entity, each with the entity `secrets`, which is version 2. */
const NAMING: readonly (readonly [method: string, path: string, body?: unknown])[] = [
  ["GET", "/api/entities/secrets"],
  ["PUT", "/api/entities/secrets", { ...USERS, name: "secrets" }],
  ["POST", "/api/entities", { ...USERS, name: "secrets" }],
  ["GET", "/api/entities/secrets/rejects"],
  ["DELETE", "/api/entities/secrets/rejects"],
  ["POST", "/api/entities/secrets/copy"],
  ["POST", "/api/entities/secrets/copy/pause"],
  ["POST", "/api/entities/secrets/copy/resume"],
  ["POST", "/api/entities/secrets/resume"],
  ["POST", "/api/entities/secrets/verify"],
  ["GET", "/api/oplogs/secrets"],
  ["POST", "/api/oplogs/batch", { entities: ["users", "secrets"] }],
  ["GET", "/api/oplogs/stream?entities=users&entities=secrets&after=0"],
  ["GET", "/api/follow?versions=1&versions=2&after=0"],
  ["GET", "/api/logs/log-1/entities/2/pages?after=0"],
  ["GET", "/api/snapshots?entity=secrets"],
  ["GET", "/api/snapshots/secrets"],
  ["GET", "/api/snapshots/secrets?info"],
  ["GET", "/api/snapshots/secrets?position=1"],
  ["POST", "/api/snapshots/secrets"],
  ["DELETE", "/api/snapshots/secrets/s-1"],
  ["GET", "/api/entity/secrets"],
  ["POST", "/api/entity", { ...USERS, name: "secrets" }],
  ["GET", "/api/oplogs?from=0&limit=10&entities=secrets"],
  ["GET", "/api/oplogs?from=0&limit=10&entities[0]=users&entities[1]=secrets"],
  ["GET", "/api/snapshot/secrets"],
  ["DELETE", "/api/entity/secrets"],
  ["DELETE", "/api/entities/secrets"],
];

/** What needs no entity, and by which scope it is to be had. */
const UNNAMED: readonly (readonly [method: string, path: string, scope: string, body?: unknown])[] = [
  ["GET", "/health", "read"],
  ["GET", "/api/health", "read"],
  ["GET", "/api/entities", "read"],
  ["GET", "/api/entity", "read"],
  ["GET", "/api/oplogs/status", "read"],
  ["GET", "/api/snapshots", "read"],
  ["GET", "/api/consumers", "read"],
  ["POST", "/api/entity/refresh", "read"],
  ["DELETE", "/api/consumers/nobody", "write"],
  ["GET", "/api/tokens", "admin"],
  ["POST", "/api/tokens", "admin", { name: "n", scope: "read" }],
  ["DELETE", "/api/tokens/n", "admin"],
];

test("a route that declares no access keeps the API from being built", () => {
  const dependencies = { ...api.dependencies, authenticator };
  const app = buildApiApplication(dependencies);
  expect(() => app.get("/api/forgotten", async () => "everything")).toThrow(/declares no access/);
});

test("without a token only the probes and the page answer", async () => {
  expect(await statusOf(null, "GET", "/health/live")).toBe(200);
  const ready = await request(null, "GET", "/health/ready");
  expect(await ready.json()).toEqual({ status: "ready", components: {} });
  for (const [method, path, body] of [
    ...NAMING,
    ...UNNAMED.map(([method, path, , body]) => [method, path, body] as const),
  ]) {
    const response = await request(null, method, path, body);
    expect(response.status, `${method} ${path}`).toBe(401);
    expect(response.headers.get("www-authenticate")).toBe('Bearer realm="emcache"');
    await response.body?.cancel();
  }
});

test.each(["x", "Basic dXNlcjpwYXNz", "read~any extra", ""])("%s is no token", async (text) => {
  const response = await api.request("/api/entities", { headers: { authorization: `Bearer ${text}` } });
  expect(response.status).toBe(401);
});

test("a scope includes the lower ones, and no higher one", async () => {
  for (const [method, path, needed, body] of UNNAMED) {
    for (const scope of ["read", "write", "admin"]) {
      const status = await statusOf(`${scope}~any`, method, path, body);
      const isAllowed = ["read", "write", "admin"].indexOf(scope) >= ["read", "write", "admin"].indexOf(needed);
      expect(status === 403, `${scope}: ${method} ${path} answered ${status}`).toBe(!isAllowed);
    }
  }
  for (const [method, path, body] of NAMING.filter(([method]) => method !== "GET")) {
    if (path === "/api/oplogs/batch" || path.endsWith("/query")) continue;
    expect(await statusOf("read~any", method, path, body), `${method} ${path}`).toBe(403);
  }
});

test("a token for some entities is refused every route that names another one", async () => {
  for (const [method, path, body] of NAMING) {
    const response = await request("admin~users+public_any", method, path, body);
    // Versions are numbers: one that is not to be seen is not there.
    const expected = /^\/api\/(?:follow|logs)/.test(path) ? 404 : 403;
    expect(response.status, `${method} ${path}`).toBe(expected);
    expect(await response.text(), `${method} ${path}`).not.toContain("hush");
  }
  expect(api.registry.get("secrets")).not.toBeNull();
  expect(api.copyOrders).toEqual([]);
  expect(api.removed).toEqual([]);
});

test("the refusal is the same whether or not there is such an entity", async () => {
  const answers = await Promise.all(
    ["secrets", "nothing"].map(async (name) => (await request("read~users", "GET", `/api/entities/${name}`)).text()),
  );
  expect(answers[0]?.replaceAll("secrets", "X")).toBe(answers[1]?.replaceAll("nothing", "X"));
});

test("lists leave out what the token is not for", async () => {
  const names = async (path: string, token: string): Promise<string[]> =>
    ((await (await request(token, "GET", path)).json()) as { name?: string; entity?: string }[]).map(
      ({ name, entity }) => name ?? entity ?? "",
    );
  for (const path of ["/api/entities", "/api/entity"]) {
    expect(await names(path, "read~users")).toEqual(["users"]);
    expect(await names(path, "read~secronets")).toEqual(["secrets"]);
    expect(await names(path, "read~any")).toEqual(expect.arrayContaining(["secrets", "users"]));
    expect(await names(path, "read~nothing")).toEqual([]);
  }
  expect(await names("/api/snapshots", "read~secrets")).toEqual([]);
  expect(await names("/api/snapshots", "read~users")).toEqual(["users"]);
  api.consumers.seen({ name: "both", versions: [1, 2], position: 0 });
  api.consumers.seen({ name: "one", versions: [1], position: 0 });
  expect(await names("/api/consumers", "read~users")).toEqual(["one"]);
  expect(await statusOf("write~users", "DELETE", "/api/consumers/both")).toBe(403);
  expect(await statusOf("write~users", "DELETE", "/api/consumers/one")).toBe(200);
  expect(await statusOf("admin~users", "GET", "/api/tokens")).toBe(403);
});

test("what the token is for is answered as without tokens", async () => {
  const follow = await request("read~users", "GET", "/api/follow?versions=1&after=0");
  expect(await follow.json()).toMatchObject({ entries: [{ doc_id: "u" }] });
  const legacy = await request("read~users", "GET", "/api/oplogs?from=0&limit=10&entities=users");
  expect(await legacy.json()).toMatchObject([{ doc_id: "u" }]);
  expect(await statusOf("read~users", "GET", "/api/snapshots/users")).toBe(200);
  expect(await statusOf("write~users", "POST", "/api/entities/users/copy")).toBe(202);
});

test("a long poll and a stream end when their token is revoked", async () => {
  const waiting = request("read~users", "GET", "/api/follow?versions=1&after=2&wait_ms=30000");
  const stream = await request("read~users", "GET", "/api/oplogs/stream?entities=users&after=2&heartbeat_ms=100");
  revoked.add("read~users");
  api.oplog.append(1, "upsert", "late", "[2]");
  api.hub.wake(3);
  const poll = await waiting;
  expect(poll.status).toBe(401);
  expect(await poll.text()).not.toContain("late");
  const events = await stream.text();
  expect(events).toContain('"code":"unauthorized"');
  expect(events).not.toContain("late");
});

test("a page of another site changes nothing where no token is asked for", async () => {
  await api.close();
  api = await new TestApi().start();
  await api.add(USERS, "live");
  const copy = async (headers: Record<string, string>): Promise<number> =>
    (await api.request("/api/entities/users/copy", { method: "POST", headers })).status;
  expect(await copy({ origin: "http://evil.example" })).toBe(403);
  expect(await copy({ origin: "null" })).toBe(403);
  expect(await copy({ "sec-fetch-site": "cross-site" })).toBe(403);
  expect(await copy({ "sec-fetch-site": "same-site", origin: api.url })).toBe(403);
  expect(api.copyOrders).toEqual([]);
  expect(await copy({})).toBe(202);
  expect(await copy({ origin: api.url })).toBe(202);
  expect(await copy({ "sec-fetch-site": "same-origin", origin: "https://behind.proxy" })).toBe(202);
});

test("refusals are told in the log, and no token", async () => {
  for (let index = 0; index < 20; index += 1) await statusOf("stolen-secret", "GET", "/api/entities");
  const told = api.logLines.filter((line) => line.includes("access_refused"));
  expect(told).toHaveLength(1);
  expect(api.logLines.join("")).not.toContain("stolen-secret");
});
