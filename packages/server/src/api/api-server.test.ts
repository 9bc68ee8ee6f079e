import { EmcacheError } from "@emcache/protocol";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TestApi, USERS } from "./testing/test-api.ts";

const run = promisify(execFile);
let api: TestApi;

beforeEach(async () => {
  api = await new TestApi().start();
});

afterEach(async () => {
  await api.close();
});

/** Runs a curl command line; the status is its last line. */
async function curl(...parameters: string[]): Promise<{ status: number; body: string }> {
  const { stdout } = await run("curl", ["-s", "-m", "10", "-w", "\n%{http_code}", ...parameters]);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

/** Sends bytes as they are and reads the answer until the server closes. */
async function raw(text: string): Promise<string> {
  const { port, hostname } = new URL(api.url);
  const socket = connect(Number(port), hostname);
  socket.setTimeout(8000, () => socket.destroy(new Error("the server hangs")));
  socket.end(text);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

/** Until `check` throws no more. The machine may be busy with all the other tests. */
function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}

async function problemOf(response: Response): Promise<Record<string, unknown>> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = (await response.json()) as Record<string, unknown>;
  expect(problem["status"]).toBe(response.status);
  expect(problem["error"]).toBe(problem["detail"]);
  expect(problem["hint"]).not.toBe("");
  return problem;
}

describe("the brief's curls, verbatim", () => {
  test("each answers as the brief suggests", async () => {
    api.create = async () => api.makeSnapshot(Buffer.from("a snapshot")).manifest;
    const json = ["-H", "Content-Type: application/json"];
    expect((await curl(`${api.url}/health`)).status).toBe(200);
    const created = await curl("-X", "POST", `${api.url}/api/entities`, ...json, "-d", JSON.stringify(USERS));
    expect(created.status).toBe(201);
    expect(JSON.parse(created.body)).toMatchObject({ ...USERS, id: 1, state: "copying" });
    expect(JSON.parse((await curl(`${api.url}/api/entities`)).body)).toMatchObject([USERS]);
    expect(JSON.parse((await curl(`${api.url}/api/entities/users`)).body)).toMatchObject(USERS);
    await api.add({ ...USERS, name: "products" }, "live");
    api.oplog.append(1, "upsert", "a", '["x",null,1]');
    api.oplog.append(2, "upsert", "b", "[]");
    const one = JSON.parse((await curl(`${api.url}/api/oplogs/users?limit=100&offset=0`)).body) as {
      entries: unknown[];
    };
    expect(one.entries).toMatchObject([{ id: 1, entity: "users", data: ["x", null, 1] }]);
    const body = '{"entities": ["users", "products"], "limit": 100, "offset": 0}';
    const both = JSON.parse((await curl("-X", "POST", `${api.url}/api/oplogs/batch`, ...json, "-d", body)).body) as {
      entries: unknown[];
    };
    expect(both.entries).toMatchObject([
      { id: 1, entity: "users" },
      { id: 2, entity: "products" },
    ]);
    expect((await curl("-X", "POST", `${api.url}/api/snapshots/users`)).status).toBe(201);
    expect(await curl(`${api.url}/api/snapshots/users`)).toEqual({ status: 200, body: "a snapshot" });
    expect((await curl("-X", "DELETE", `${api.url}/api/entities/users`)).status).toBe(200);
    expect((await curl(`${api.url}/api/entities/users`)).status).toBe(404);
  });

  test("a POST without a body may carry a JSON content type", async () => {
    await api.add(USERS, "live");
    const headers = { "content-type": "application/json" };
    expect((await api.request("/api/snapshots/users", { method: "POST", headers })).status).toBe(201);
    expect((await api.request("/api/entities/users", { method: "DELETE", headers })).status).toBe(200);
  });
});

describe("GET /health/live and /health/ready", () => {
  test("ready once every part has begun, also where one fails; not while the process stops", async () => {
    const part = api.health.component("postgres");
    expect((await api.request("/health/live")).status).toBe(200);
    const starting = await api.request("/health/ready");
    expect([starting.status, await starting.json()]).toMatchObject([503, { status: "starting" }]);
    part.degraded(new EmcacheError("postgres_unavailable", "connection refused"));
    const failing = await api.request("/health/ready");
    expect([failing.status, await failing.json()]).toMatchObject([
      200,
      { status: "ready", components: { postgres: { status: "degraded", code: "postgres_unavailable" } } },
    ]);
    part.stopped();
    const stopping = await api.request("/health/ready");
    expect([stopping.status, await stopping.json()]).toMatchObject([503, { status: "stopping" }]);
    expect((await api.request("/health/live")).status).toBe(200);
  });
});

describe("GET /health", () => {
  test("is 200 and degraded, with the reason, while a part is", async () => {
    api.health.component("api").healthy();
    expect(await (await api.request("/health")).json()).toMatchObject({ status: "healthy" });
    api.health.component("postgres").degraded(new EmcacheError("postgres_unavailable", "connection refused"));
    const response = await api.request("/api/health");
    expect(response.status).toBe(200);
    const body = (await response.json()) as { timestamp: string };
    expect(body).toMatchObject({
      status: "degraded",
      components: {
        api: { status: "healthy", reason: null },
        postgres: {
          status: "degraded",
          reason: "connection refused",
          code: "postgres_unavailable",
          hint: expect.stringContaining("uri") as string,
        },
      },
    });
    expect(body.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });
});

describe("/api/entities", () => {
  test("shows a copy's progress, then the live figures, then the version that will replace it", async () => {
    await api.send("POST", "/api/entities", USERS);
    api.copies.set(1, { rowCount: 421, rowCountEstimate: 1000 });
    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({
      state: "copying",
      percent: 42.1,
      rows: 421,
      pending: null,
    });
    await api.makeLive(1);
    api.copies.clear();
    api.rejects.set(1, 7);
    api.statuses.set(1, {
      mode: "live",
      dataState: "whole",
      rows: 1000,
      position: 50,
      lagEntries: 3,
      lastError: null,
      sizeBytes: 4096,
      appliedRows: 1234,
      appliedAt: Date.now() - 2000,
    });
    await api.send("PUT", "/api/entities/users", { ...USERS, source: "people" });
    const shown = (await (await api.request("/api/entities/users")).json()) as { lag_ms: number };
    expect(shown).toMatchObject({
      id: 1,
      state: "live",
      percent: null,
      reason: null,
      rows: 1000,
      position: 50,
      lag_entries: 3,
      applied_entries: 1234,
      size_bytes: 4096,
      last_error: null,
      rejects: 7,
      pending: { id: 2, source: "people", state: "copying" },
    });
    expect(shown.lag_ms).toBeGreaterThanOrEqual(2005);
    expect(shown.lag_ms).toBeLessThan(10_000);
  });

  test("is failed with the reason where the source can't be copied, and stays live where it is served", async () => {
    const error = { code: "source_unauthorized", detail: "not authorized on myapp", hint: "Grant the role `read`" };
    api.captures.set("main", { lagMs: null, error });
    await api.add(USERS, "pending");
    await api.add({ ...USERS, name: "products" }, "live");
    expect(await (await api.request("/api/entities")).json()).toMatchObject([
      { name: "products", state: "live", reason: null, last_error: error },
      { name: "users", state: "failed", reason: "not authorized on myapp", last_error: error },
    ]);
  });

  test("answers mistakes all at once, conflicts, unknown names", async () => {
    const invalid = await problemOf(await api.send("POST", "/api/entities", { name: "a b", client: "x" }));
    expect(invalid["code"]).toBe("entity_invalid");
    expect(invalid["errors"]).toHaveLength(4);
    const created = await api.send("POST", "/api/entities", USERS);
    expect(created.headers.get("location")).toBe("/api/entities/users");
    expect(await problemOf(await api.send("POST", "/api/entities", USERS))).toMatchObject({
      status: 409,
      code: "entity_exists",
    });
    for (const method of ["GET", "DELETE"]) {
      expect(await problemOf(await api.request("/api/entities/nobody", { method }))).toMatchObject({
        status: 404,
        code: "entity_not_found",
      });
    }
    expect((await api.send("PUT", "/api/entities/nobody", USERS)).status).toBe(404);
    expect(
      (await problemOf(await api.send("PUT", "/api/entities/users", { ...USERS, name: "others" })))["errors"],
    ).toEqual([expect.stringMatching(/^name: /)]);
    const { name: _name, ...nameless } = USERS;
    expect((await api.send("PUT", "/api/entities/users", nameless)).status).toBe(200);
  });

  test("is shown while PostgreSQL is away, without the rejects; changes are refused", async () => {
    await api.close();
    const away = new EmcacheError("postgres_unavailable", "connection refused");
    api = await new TestApi({
      rejects: {
        count: () => new Promise(() => {}),
        list: () => Promise.reject(away),
        clear: () => Promise.reject(away),
      },
    }).start();
    await api.add(USERS, "live");
    api.store.isAway = true;
    api.oplog.failure = away;
    api.makeSnapshot(Buffer.from("bytes"));
    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({ state: "live", rejects: null });
    expect((await api.request("/api/snapshots/users")).status).toBe(200);
    const failed = await api.request("/api/oplogs/users");
    expect(failed.headers.get("retry-after")).toBe("1");
    expect(await problemOf(failed)).toMatchObject({ status: 503, code: "postgres_unavailable", retryable: true });
    expect((await api.send("POST", "/api/entities", { ...USERS, name: "b" })).status).toBe(503);
    expect((await api.request("/api/oplogs?from=0&limit=1&entities=users")).status).toBe(503);
  });

  test("is stopped or stale with its reason, and goes on when it is told to", async () => {
    await api.add(USERS, "live");
    api.conditions.set(1, { state: "stopped", isPaused: false, stopReason: "no integer" });
    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({
      state: "stopped",
      reason: "no integer",
      copy_paused: false,
      last_error: { code: "entity_stopped", hint: expect.stringContaining("/resume") as string },
    });
    api.conditions.set(1, { state: "kept", isPaused: true, stopReason: null });
    expect(await (await api.request("/api/entities/users")).json()).toMatchObject({
      state: "stale",
      copy_paused: true,
      last_error: { code: "entity_stale" },
    });
    expect((await api.request("/api/entities/users/resume", { method: "POST" })).status).toBe(202);
    api.conditions.set(1, { state: "done", isPaused: false, stopReason: null });
    const idle = await api.request("/api/entities/users/resume", { method: "POST" });
    expect(await idle.json()).toMatchObject({ message: "The entity has not stopped" });
    await api.send("PUT", "/api/entities/users", { ...USERS, source: "people" });
    api.conditions.set(2, { state: "stopped", isPaused: false, stopReason: "no integer" });
    await api.request("/api/entities/users/resume", { method: "POST" });
    expect(api.copyOrders).toEqual(["copy 1", "copy 2"]);
  });

  test("takes orders for its copies", async () => {
    await api.add(USERS, "live");
    for (const path of ["copy", "copy/pause", "copy/resume"]) {
      expect((await api.request(`/api/entities/users/${path}`, { method: "POST" })).status).toBe(202);
      expect((await api.request(`/api/entities/nobody/${path}`, { method: "POST" })).status).toBe(404);
    }
    expect(api.copyOrders).toEqual(["copy 1", "pause users", "resume users"]);
  });

  test("keeps what an entity may do without", async () => {
    const policies = { filter: { age: { $gte: 18 } }, on_reject: "skip_document", on_drop: "keep" };
    const created = await api.send("POST", "/api/entities", { ...USERS, ...policies });
    expect(await created.json()).toMatchObject(policies);
    expect(await (await api.request("/api/entity/users")).json()).toMatchObject(policies);
    expect(await (await api.send("PUT", "/api/entities/users", USERS)).json()).toMatchObject({ id: 2 });
    expect(Object.keys((await (await api.request("/api/entities/users")).json()) as object)).not.toContain("filter");
  });

  test("forgets rejects", async () => {
    await api.add(USERS, "live");
    api.rejects.set(1, 7);
    expect((await api.request("/api/entities/users/rejects")).headers.get("emcache-total")).toBe("7");
    expect((await api.request("/api/entities/users/rejects", { method: "DELETE" })).status).toBe(200);
    expect((await api.request("/api/entities/users/rejects")).headers.get("emcache-total")).toBe("0");
  });

  test("lists rejects", async () => {
    await api.add(USERS, "live");
    expect(await (await api.request("/api/entities/users/rejects?limit=5")).json()).toEqual([
      {
        doc_id: "d1",
        column: "age",
        reason: "is no integer",
        sample: '"x"',
        seen_count: 2,
        last_seen_at: "2026-01-02T03:04:05.000Z",
      },
    ]);
  });
});

describe("/api/oplogs/{entity} and /api/oplogs/batch", () => {
  interface Answer {
    entries: { id: number; data: unknown }[];
    position: number;
    has_more: boolean;
  }

  async function read(query: string): Promise<Answer> {
    const response = await api.request(`/api/oplogs/users${query}`);
    expect(response.status).toBe(200);
    const answer = (await response.json()) as Answer;
    expect(response.headers.get("emcache-position")).toBe(String(answer.position));
    return answer;
  }

  beforeEach(async () => {
    await api.add(USERS, "live");
    await api.add({ ...USERS, name: "products" }, "live");
    for (let index = 0; index < 30; index++) api.oplog.append(1 + (index % 2), "upsert", `d${index}`, `[${index}]`);
  });

  test("limit, offset and after walk the log; the position leads on", async () => {
    expect((await read("?limit=3")).entries.map(({ id }) => id)).toEqual([1, 3, 5]);
    expect(await read("?limit=3&offset=2")).toMatchObject({ position: 9, has_more: true });
    expect((await read("?limit=2&after=9")).entries.map(({ id }) => id)).toEqual([11, 13]);
    expect((await read("?limit=2&after=9&offset=1")).entries.map(({ id }) => id)).toEqual([13, 15]);
    const all = await read("");
    expect(all).toMatchObject({
      position: 30,
      has_more: false,
      head: 30,
      floor: 1,
      log_id: "log-1",
      entities: ["users"],
      tag: "tag-30",
    });
    expect(all.entries).toHaveLength(15);
    expect(await read("?offset=1000")).toMatchObject({ entries: [], position: 30, has_more: false });
    expect(await read("?after=99")).toMatchObject({ entries: [], position: 99, has_more: false });
  });

  test("reads on over stretches without a matching entry, and starts at the floor", async () => {
    api.oplog.scanMax = 3;
    expect((await read("?limit=4&offset=5")).entries.map(({ id }) => id)).toEqual([11, 13, 15, 17]);
    api.oplog.floor = 20;
    expect((await read("?limit=2")).entries.map(({ id }) => id)).toEqual([21, 23]);
    expect(await problemOf(await api.request("/api/oplogs/users?after=18"))).toMatchObject({
      status: 410,
      code: "position_too_old",
      floor: 20,
    });
  });

  test("keeps every digit and every escape of the stored JSON", async () => {
    const data = '[9007199254740993,1.10,"\\u0000\\ud83d\\ude00"]';
    api.oplog.append(1, "upsert", 'quote " and \0', data);
    const text = await (await api.request("/api/oplogs/users?after=30")).text();
    expect(text).toContain(`"data":${data}`);
    expect((JSON.parse(text) as { entries: unknown[] }).entries).toEqual([
      {
        id: 31,
        operation: "upsert",
        doc_id: 'quote " and \0',
        entity: "users",
        version: 1,
        origin: "stream",
        id_type: 2,
        transaction: null,
        transaction_end: false,
        data: JSON.parse(data) as unknown,
        created_at: "2026-01-02T03:04:05.678Z",
      },
    ]);
  });

  test("the batch route gives the same answer, merged in the log's order", async () => {
    const body = { entities: ["products", "users"], limit: 4, offset: 1, after: 2 };
    const answer = (await (await api.send("POST", "/api/oplogs/batch", body)).json()) as Answer;
    expect(answer.entries.map(({ id }) => id)).toEqual([4, 5, 6, 7]);
    expect(Object.keys(answer).sort()).toEqual(Object.keys(await read("")).sort());
  });

  test("refuses a reader of another history", async () => {
    expect((await api.request("/api/oplogs/users?after=5&log_id=log-1&tag=tag-5")).status).toBe(200);
    for (const query of ["after=5&log_id=log-2", "after=5&tag=other", "after=99&tag=tag-99"]) {
      expect(await problemOf(await api.request(`/api/oplogs/users?${query}`))).toMatchObject({
        status: 409,
        code: "history_mismatch",
      });
    }
  });

  test("reports every mistake of a request at once", async () => {
    const query = await problemOf(await api.request("/api/oplogs/users?limit=0&offset=-1&after=x"));
    expect(query).toMatchObject({ status: 400, code: "bad_request" });
    expect(query["errors"]).toEqual([
      expect.stringMatching(/^limit: .*got 0$/),
      expect.stringMatching(/^offset: .*got -1$/),
      expect.stringMatching(/^after: .*got "x"$/),
    ]);
    expect((await api.request("/api/oplogs/users?limit=10001")).status).toBe(400);
    expect((await api.request("/api/oplogs/users?limit=10000")).status).toBe(200);
    const body = await problemOf(await api.send("POST", "/api/oplogs/batch", { entities: [1, "a"], limit: "5" }));
    expect(body["errors"]).toEqual(
      expect.arrayContaining([expect.stringMatching(/^entities\[0\]: /), expect.stringMatching(/^limit: /)]),
    );
    expect((await problemOf(await api.send("POST", "/api/oplogs/batch", {})))["errors"]).toEqual([
      "entities: is missing",
    ]);
    expect((await api.request("/api/oplogs/batch", { method: "POST" })).status).toBe(400);
    const unknown = await problemOf(await api.send("POST", "/api/oplogs/batch", { entities: ["users", "x", "y"] }));
    expect(unknown).toMatchObject({
      status: 404,
      errors: [expect.stringContaining("entities[1]"), expect.stringContaining("entities[2]")],
    });
  });

  test("by name the live version is read; the first one while it is copied", async () => {
    await api.add({ ...USERS, source: "people" }, "pending");
    api.oplog.append(3, "upsert", "new");
    expect((await read("?after=29")).entries).toEqual([]);
    const first = await api.add({ ...USERS, name: "fresh" }, "pending");
    api.oplog.append(first, "sync_start");
    const answer = (await (await api.request("/api/oplogs/fresh")).json()) as Answer;
    expect(answer.entries).toMatchObject([{ id: 32, operation: "sync_start", doc_id: "", data: null }]);
  });
});

describe("/api/snapshots", () => {
  test("streams the newest file with its manifest; unchanged and in parts", async () => {
    await api.add(USERS, "live");
    const bytes = randomBytes(3_000_000);
    const { manifest } = api.makeSnapshot(bytes);
    const response = await api.request("/api/snapshots/users");
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
    const etag = `"${manifest.sha256}"`;
    expect(Object.fromEntries(response.headers)).toMatchObject({
      etag,
      "content-length": "3000000",
      "content-type": "application/vnd.sqlite3",
      "content-disposition": 'attachment; filename="users.db"',
      "emcache-position": "42",
      "emcache-tag": "tag-42",
      "emcache-log-id": "log-1",
      "emcache-version": "1",
      "emcache-sha256": manifest.sha256,
    });
    expect((await api.request("/api/snapshots/users", { headers: { "if-none-match": etag } })).status).toBe(304);
    const part = await api.request("/api/snapshots/users", { headers: { range: "bytes=100-199", "if-range": etag } });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-range")).toBe("bytes 100-199/3000000");
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(100, 200))).toBe(true);
    expect((await api.request("/api/snapshots/users", { headers: { range: "bytes=3000000-" } })).status).toBe(416);
    const stale = await api.request("/api/snapshots/users", { headers: { range: "bytes=0-1", "if-range": '"other"' } });
    expect(stale.status).toBe(200);
    await stale.arrayBuffer();
    const head = await api.request("/api/snapshots/users", { method: "HEAD" });
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "3000000"]);
    expect(await (await api.request("/api/snapshots/users?info")).json()).toEqual(manifest);
    expect(await (await api.request("/api/snapshots")).json()).toEqual([manifest]);
  });

  test("says why there is none", async () => {
    await api.add(USERS, "pending");
    expect(await problemOf(await api.request("/api/snapshots/users"))).toMatchObject({
      status: 503,
      code: "snapshot_not_ready",
    });
    await api.makeLive(1);
    expect(await problemOf(await api.request("/api/snapshots/users"))).toMatchObject({
      status: 404,
      code: "snapshot_not_found",
    });
    expect(await problemOf(await api.request("/api/snapshots/nobody"))).toMatchObject({
      status: 404,
      code: "entity_not_found",
    });
    expect((await api.request("/api/snapshots/nobody", { method: "POST" })).status).toBe(404);
  });

  test("a newer snapshot that takes the file's place is sent instead", async () => {
    await api.add(USERS, "live");
    const old = api.makeSnapshot(Buffer.from("old"));
    const next = api.makeSnapshot(Buffer.from("newer"));
    let calls = 0;
    api.find = async () => {
      const { manifest, forms } = api.formsOf(calls === 0 ? old : next);
      const path = calls++ === 0 ? "/nowhere" : next.path;
      return { kind: "file", file: { manifest, forms: forms.map((form) => ({ ...form, path })) } };
    };
    const response = await api.request("/api/snapshots/users");
    expect([response.status, await response.text(), response.headers.get("emcache-snapshot-id")]).toEqual([
      200,
      "newer",
      next.manifest.id,
    ]);
  });

  test("a flipped bit is never sent: not in the first chunk, not in a later one, not in a range", async () => {
    await api.add(USERS, "live");
    const bytes = randomBytes(5_000_000);
    const { path } = api.makeSnapshot(bytes);
    const flipped = Buffer.from(bytes);
    flipped[4_900_000] = (flipped[4_900_000] ?? 0) ^ 1;
    writeFileSync(path, flipped);
    // Before the damage all is well; the answer is cut off where it begins, so nobody takes it for whole.
    const good = await api.request("/api/snapshots/users", { headers: { range: "bytes=0-99999" } });
    expect(Buffer.from(await good.arrayBuffer()).equals(bytes.subarray(0, 100_000))).toBe(true);
    const whole = await api.request("/api/snapshots/users");
    const outcome = await whole.arrayBuffer().then(
      () => "whole",
      () => "cut off",
    );
    expect(outcome).toBe("cut off");
    expect(api.damaged).toEqual([path]);
    // Where it is what was asked for, the answer is an error with nothing of the file in its head.
    const range = await api.request("/api/snapshots/users", { headers: { range: "bytes=4800000-4999999" } });
    expect(await problemOf(range)).toMatchObject({ status: 500, code: "snapshot_damaged" });
    expect([range.headers.get("content-range"), range.headers.get("etag")]).toEqual([null, null]);
    writeFileSync(path, bytes.subarray(0, 4_999_999));
    expect((await api.request("/api/snapshots/users")).status).toBe(500);
  });

  test("leads to where a snapshot lies, and says in the head what it is", async () => {
    await api.add(USERS, "live");
    const { manifest } = api.makeSnapshot(Buffer.from("x"));
    api.find = async () => ({ kind: "elsewhere", manifest, url: "http://other:1/x", isObject: false });
    const holder = await api.request("/api/snapshots/users", { redirect: "manual" });
    expect([holder.status, holder.headers.get("location"), holder.headers.get("emcache-position")]).toEqual([
      307,
      "http://other:1/x",
      "42",
    ]);
    expect(await (await api.request("/api/snapshots/users?info")).json()).toEqual(manifest);
    api.find = async () => ({ kind: "elsewhere", manifest, url: "http://other:1/x", isObject: true });
    expect((await api.request("/api/snapshots/users", { redirect: "manual" })).status).toBe(302);
    api.find = async () => {
      throw new EmcacheError("snapshot_elsewhere", "on another process");
    };
    expect(await problemOf(await api.request("/api/snapshots/users"))).toMatchObject({
      status: 503,
      code: "snapshot_elsewhere",
      hint: expect.stringContaining("advertise_url"),
    });
  });

  test("a point in time by position or time; one thing only; deletes by id", async () => {
    await api.add(USERS, "live");
    const points: unknown[] = [];
    const made = api.makeSnapshot(Buffer.from("x"));
    api.restore = async (_name, point) => {
      points.push(point);
      return { kind: "file", file: api.formsOf(made) };
    };
    for (const query of ["position=7", "time=2026-01-31T12:00:00.5Z", "time=1000", "time=2026-01-31T14:00:00+02:00"]) {
      expect((await api.request(`/api/snapshots/users?${query}`)).status).toBe(200);
    }
    const noon = Date.parse("2026-01-31T12:00:00Z") / 1000;
    expect(points).toEqual([{ position: 7 }, { timeS: noon }, { timeS: 1000 }, { timeS: noon }]);
    for (const query of [
      "position=1&time=2",
      "time=yesterday",
      "time=2026-01-31T12:00:00",
      "position=x",
      "id=a&version=1",
    ]) {
      expect((await api.request(`/api/snapshots/users?${query}`)).status).toBe(400);
    }
    expect((await api.request("/api/snapshots/users/s1", { method: "DELETE" })).status).toBe(204);
    expect(api.removed).toEqual(["s1"]);
  });
});

describe("errors", () => {
  test("unknown paths are 404, known paths with another method 405", async () => {
    expect(await problemOf(await api.request("/api/nothing"))).toMatchObject({ status: 404, code: "not_found" });
    const response = await api.request("/api/entities/users", { method: "PATCH" });
    expect(response.headers.get("allow")).toBe("DELETE, GET, HEAD, PUT");
    expect(await problemOf(response)).toMatchObject({ status: 405, code: "method_not_allowed" });
    expect((await api.request("/health", { method: "DELETE" })).status).toBe(405);
  });

  test("bodies that are no JSON, of another type, too large", async () => {
    const headers = { "content-type": "application/json" };
    for (const body of ["{", "nul", Buffer.from([0x22, 0xff, 0x22])]) {
      expect(await problemOf(await api.request("/api/entities", { method: "POST", headers, body }))).toMatchObject({
        status: 400,
        code: "body_not_json",
      });
    }
    expect(
      await problemOf(
        await api.request("/api/entities", { method: "POST", headers: { "content-type": "text/xml" }, body: "<a/>" }),
      ),
    ).toMatchObject({ status: 415 });
    const large = JSON.stringify({ name: "x".repeat(1024 * 1024) });
    expect(await problemOf(await api.request("/api/entities", { method: "POST", headers, body: large }))).toMatchObject(
      { status: 413, code: "too_large" },
    );
  });

  test("an error inside shows nothing but an instance that the log has", async () => {
    await api.close();
    api = await new TestApi({
      captures: {
        captureStatus: () => {
          throw new Error("secret /var/lib path");
        },
        copyProgress: () => null,
      },
    }).start();
    await api.add(USERS, "live");
    const response = await api.request("/api/entities/users");
    const text = await response.clone().text();
    expect(text).not.toContain("secret");
    const problem = await problemOf(response);
    expect(problem).toMatchObject({ status: 500, code: "internal" });
    const line = api.logLines.find((candidate) => candidate.includes(String(problem["instance"])));
    expect(line).toContain("secret /var/lib path");
  });

  test("what is not HTTP, and a header that is too large, are answered too", async () => {
    expect(await raw("\x16\x03\x01 this is TLS\r\n\r\n")).toMatch(/^HTTP\/1.1 400 [\s\S]*application\/problem\+json/);
    expect(await raw(`GET /health HTTP/1.1\r\nhost: a\r\nx: ${"a".repeat(100_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 /,
    );
    expect(await raw("GET /api/entities/%zz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).toMatch(
      /^HTTP\/1.1 400 [\s\S]*"bad_request"/,
    );
    expect(await raw("GET /api/entities/a%00b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).toMatch(
      /^HTTP\/1.1 404 /,
    );
    expect(
      await raw("GET /api/snapshots/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    ).toMatch(/^HTTP\/1.1 404 /);
  });

  test("a port that is taken is an error with a hint", async () => {
    const { port } = new URL(api.url);
    const second = new TestApi({ port: Number(port) });
    await expect(second.start()).rejects.toMatchObject({ code: "listen_failed" });
    await second.close();
  });
});

describe("stop", () => {
  test("finishes requests in flight, closes idle connections, accepts no more", async () => {
    await api.add(USERS, "live");
    const gate = Promise.withResolvers<void>();
    api.create = async () => {
      await gate.promise;
      return api.makeSnapshot(Buffer.from("late")).manifest;
    };
    const { url } = api;
    await (await fetch(`${url}/health`)).arrayBuffer(); // leaves an idle keep-alive connection
    const inFlight = fetch(`${url}/api/snapshots/users`, { method: "POST" });
    await eventually(async () => expect((await fetch(`${url}/health`)).status).toBe(200));
    await new Promise((resolve) => setImmediate(resolve));
    const stopping = api.server.stop(AbortSignal.timeout(10_000));
    await eventually(async () =>
      expect(
        await fetch(`${url}/health`).then(
          () => "open",
          () => "closed",
        ),
      ).toBe("closed"),
    );
    gate.resolve();
    const answeredAt = performance.now();
    expect((await inFlight).status).toBe(201);
    await stopping;
    expect(performance.now() - answeredAt).toBeLessThan(5000);
    expect(api.server.address()).toBeNull();
  });

  test("cuts requests off when the signal aborts", async () => {
    await api.add(USERS, "live");
    const begun = Promise.withResolvers<AbortSignal>();
    api.create = (_name, signal) => {
      begun.resolve(signal);
      return new Promise(() => {});
    };
    const inFlight = api.request("/api/snapshots/users", { method: "POST" }).then(
      () => "answered",
      () => "cut off",
    );
    const clientSignal = await begun.promise;
    await api.server.stop(AbortSignal.timeout(50));
    expect(await inFlight).toBe("cut off");
    await eventually(() => expect(clientSignal.aborted).toBe(true));
  });

  test("a client that goes away ends its request's signal", async () => {
    await api.add(USERS, "live");
    const begun = Promise.withResolvers<AbortSignal>();
    api.create = (_name, signal) => {
      begun.resolve(signal);
      return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
    };
    const request = httpRequest(`${api.url}/api/snapshots/users`, { method: "POST" });
    request.on("error", () => {});
    request.end();
    const signal = await begun.promise;
    request.destroy();
    await eventually(() => expect(signal.aborted).toBe(true));
    expect((await api.request("/health")).status).toBe(200);
  });
});
