import { EmcacheError } from "@emcache/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

/** The table of /work/shared/go-client-contract.md, row by row: what EMCache's existing Go client sees. */

let api: TestApi;

beforeEach(async () => {
  api = await new TestApi().start();
});

afterEach(async () => {
  await api.close();
});

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function answerOf(response: Response): Promise<Answer> {
  expect(response.headers.get("content-type")).toMatch(/^application\/json/);
  return { status: response.status, body: await response.json() };
}

async function get(path: string): Promise<Answer> {
  return answerOf(await api.request(path));
}

const STORED = { id: 1, ...USERS, created_at: "2026-01-01T00:00:00Z" };

describe("/api/entity", () => {
  test("POST answers 200 with the entity, and the list has it at once", async () => {
    expect(await answerOf(await api.send("POST", "/api/entity", USERS))).toEqual({ status: 200, body: STORED });
    expect(await get("/api/entity")).toEqual({ status: 200, body: [STORED] });
    expect(await get("/api/entity/users")).toEqual({ status: 200, body: STORED });
  });

  test("indexes may be null, unknown fields are ignored", async () => {
    const shape = { ...USERS.shape, indexes: null };
    const answer = await answerOf(await api.send("POST", "/api/entity", { ...USERS, shape, more: 1 }));
    expect(answer).toMatchObject({ status: 200, body: { name: "users", shape: { indexes: [] } } });
  });

  test("the list shows the live version while a changed one is copied", async () => {
    await api.add(USERS, "live");
    await api.add({ ...USERS, source: "people" }, "pending");
    expect(await get("/api/entity")).toEqual({ status: 200, body: [STORED] });
  });

  test("mistakes are 400 with all of them, each with its place", async () => {
    const columns = [
      { name: "id", type: "string", path: "$.a" },
      { name: "b", type: "string", path: "nope" },
    ];
    const { status, body } = await answerOf(
      await api.send("POST", "/api/entity", { ...USERS, client: "x", shape: { ...USERS.shape, columns, indexes: [] } }),
    );
    expect(status).toBe(400);
    const { errors } = body as { errors: string[] };
    expect(Object.keys(body as object)).toEqual(["errors"]);
    expect(errors).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^client: /),
        expect.stringMatching(/^shape\.columns\[0\]\.name: /),
        expect.stringMatching(/^shape\.columns\[1\]\.path: /),
      ]),
    );
  });

  test("an existing name is 400", async () => {
    await api.send("POST", "/api/entity", USERS);
    expect(await answerOf(await api.send("POST", "/api/entity", USERS))).toEqual({
      status: 400,
      body: { error: "Entity already exists" },
    });
  });

  test("a body that isn't the JSON wanted is 400, 415 or 422 with a reason", async () => {
    const post = async (contentType: string, body: string): Promise<Answer> =>
      answerOf(await api.request("/api/entity", { method: "POST", headers: { "content-type": contentType }, body }));
    const reason = { reason: expect.any(String) as string };
    expect(await post("application/json", "{")).toEqual({ status: 400, body: reason });
    expect(await post("application/json", "")).toEqual({ status: 400, body: reason });
    expect(await post("text/plain", "{}")).toEqual({ status: 415, body: reason });
    expect(await post("application/json", "[]")).toEqual({ status: 422, body: reason });
    expect(await post("application/json", '{"name":1}')).toEqual({ status: 422, body: reason });
  });

  test("unknown names: 404 to look at, 200 to delete", async () => {
    expect(await get("/api/entity/nobody")).toEqual({ status: 404, body: { error: "Entity not found" } });
    const deleted = { status: 200, body: { message: "Entity deleted successfully" } };
    expect(await answerOf(await api.request("/api/entity/nobody", { method: "DELETE" }))).toEqual(deleted);
    await api.send("POST", "/api/entity", USERS);
    expect(await answerOf(await api.request("/api/entity/users", { method: "DELETE" }))).toEqual(deleted);
    expect(await get("/api/entity")).toEqual({ status: 200, body: [] });
  });

  test("refresh says whether it succeeded", async () => {
    expect(await answerOf(await api.send("POST", "/api/entity/refresh", {}))).toEqual({
      status: 200,
      body: { success: true },
    });
    api.store.isAway = true;
    expect(await answerOf(await api.request("/api/entity/refresh", { method: "POST" }))).toEqual({
      status: 200,
      body: { success: false },
    });
  });
});

describe("/api/oplogs", () => {
  beforeEach(async () => {
    for (const name of ["users", "orders", "items"]) await api.add({ ...USERS, name }, "live");
  });

  test("status is the head, 0 when empty", async () => {
    expect(await get("/api/oplogs/status")).toMatchObject({ status: 200, body: { max_id: 0 } });
    api.oplog.append(1, "upsert", "a", "[1]");
    expect(await get("/api/oplogs/status")).toMatchObject({ status: 200, body: { max_id: 1 } });
  });

  test("gives an array of entries after from, ascending, at most limit", async () => {
    api.oplog.append(1, "sync_start");
    api.oplog.append(2, "upsert", "a", "[1,true,null]");
    api.oplog.append(1, "delete", "b");
    api.oplog.append(3, "upsert", "c", "[]");
    const { body } = await get("/api/oplogs?from=0&limit=10&entities=users&entities=orders");
    expect(body).toMatchObject([
      {
        id: 1,
        operation: "sync_start",
        doc_id: "",
        entity: "users",
        data: null,
        created_at: "2026-01-02T03:04:05.678Z",
      },
      { id: 2, operation: "upsert", doc_id: "a", entity: "orders", data: [1, true, null] },
      { id: 3, operation: "delete", doc_id: "b", entity: "users", data: null },
    ]);
    expect(await get("/api/oplogs?from=1&limit=1&entities=users&entities=orders")).toMatchObject({ body: [{ id: 2 }] });
    expect(await get("/api/oplogs?from=3&limit=10&entities=users")).toEqual({ status: 200, body: [] });
  });

  test("finds entries behind any stretch of other entities' entries: this client moves on by ids it has seen", async () => {
    api.oplog.scanMax = 2;
    for (let index = 0; index < 20; index++) api.oplog.append(2, "upsert", "x", "[]");
    api.oplog.append(1, "upsert", "late", "[]");
    expect(await get("/api/oplogs?from=0&limit=10&entities=users")).toMatchObject({ body: [{ id: 21 }] });
  });

  test("wait_ms waits for the first entry; a consumer may name itself", async () => {
    api.oplog.append(1, "upsert", "a", "[1]");
    const query = "from=1&limit=10&entities=users&wait_ms=60000";
    const waiting = Array.from({ length: 20 }, () =>
      api.request(`/api/oplogs?${query}`, { headers: { "emcache-consumer": "go" } }),
    );
    await eventually(() => api.hub.waiterCount === 20, 30_000, "all wait");
    const before = api.oplog.pageCount;
    api.oplog.append(1, "upsert", "b", "[2]");
    api.hub.wake(2);
    for (const response of await Promise.all(waiting)) {
      expect(response.headers.get("emcache-position")).toBe("2");
      expect(await answerOf(response)).toMatchObject({ status: 200, body: [{ id: 2, data: [2] }] });
    }
    expect(api.oplog.pageCount - before).toBe(1);
    expect([...api.consumers.claims.values()]).toMatchObject([{ name: "go", position: 1, versions: [1] }]);
    expect(await get("/api/oplogs?from=2&limit=10&entities=users&wait_ms=10")).toEqual({ status: 200, body: [] });
    expect((await get("/api/oplogs?from=0&limit=10&entities=users&wait_ms=60001")).status).toBe(400);
    const last = get("/api/oplogs?from=2&limit=10&entities=users&wait_ms=60000");
    await eventually(() => api.hub.waiterCount === 1, 30_000, "it waits");
    await api.server.stop(AbortSignal.timeout(30_000));
    expect(await last).toEqual({ status: 200, body: [] });
  });

  test("entities may be written in three ways, as many as wanted; unknown names give nothing", async () => {
    api.oplog.append(1, "upsert", "a", "[]");
    api.oplog.append(2, "upsert", "b", "[]");
    for (const entities of [
      "entities=users&entities=orders",
      "entities[]=users&entities[]=orders",
      "entities[0]=users&entities[1]=orders",
      "entities%5B0%5D=users&entities%5B7%5D=orders",
    ]) {
      expect((await get(`/api/oplogs?from=0&limit=10&${entities}`)).body).toHaveLength(2);
    }
    const many = Array.from({ length: 1500 }, (_, index) => `entities=unknown_${index}`).join("&");
    expect((await get(`/api/oplogs?from=0&limit=10&${many}&entities=users`)).body).toHaveLength(1);
    expect(await get("/api/oplogs?from=0&limit=10&entities=nobody")).toEqual({ status: 200, body: [] });
  });

  test("what is missing or unreadable is 400 with a reason, what is out of bounds 400 with errors", async () => {
    for (const query of [
      "",
      "from=0&limit=1",
      "from=0&entities=users",
      "limit=1&entities=users",
      "from=x&limit=1&entities=users",
      "from=0&limit=1.5&entities=users",
    ]) {
      expect(await get(`/api/oplogs?${query}`)).toEqual({
        status: 400,
        body: { reason: expect.any(String) as string },
      });
    }
    expect(await get("/api/oplogs?from=-1&limit=10001&entities=users")).toEqual({
      status: 400,
      body: { errors: [expect.stringMatching(/^from: /), expect.stringMatching(/^limit: /)] },
    });
    expect((await get("/api/oplogs?from=0&limit=0&entities=users")).status).toBe(400);
    expect((await get("/api/oplogs?from=0&limit=10000&entities=users")).status).toBe(200);
  });

  test("a from below the floor is 410", async () => {
    for (let index = 0; index < 5; index++) api.oplog.append(1, "upsert", "x", "[]");
    api.oplog.floor = 4;
    expect(await get("/api/oplogs?from=2&limit=10&entities=users")).toEqual({
      status: 410,
      body: { error: expect.any(String) as string },
    });
    expect((await get("/api/oplogs?from=3&limit=10&entities=users")).body).toHaveLength(2);
  });
});

describe("/api/snapshot/{name}", () => {
  async function fetchWith(acceptEncoding: string): Promise<Response> {
    return api.request("/api/snapshot/users", { headers: { "accept-encoding": acceptEncoding } });
  }

  test("is the file, in zstd rather than gzip", async () => {
    await api.add(USERS, "pending");
    // The bytes are no zstd, so that a client which decodes them would fail: only what the header says is looked at.
    const codings: string[] = [];
    api.legacy = async (_name, coding) => {
      codings.push(coding);
      return api.write("file", Buffer.alloc(0));
    };
    const zstd = await fetchWith("zstd, gzip");
    expect(zstd.headers.get("content-encoding")).toBe("zstd");
    expect(zstd.headers.get("content-type")).toBe("application/octet-stream");
    expect(zstd.headers.get("content-disposition")).toBe("attachment; filename=users.db");
    await fetchWith("gzip, deflate");
    await fetchWith("zstd;q=0, gzip;q=0.5");
    await fetchWith("identity");
    expect(codings).toEqual(["zstd", "gzip", "gzip", "identity"]);
    api.legacy = async () => api.write("file", Buffer.from("the file"));
    expect(await (await fetchWith("identity")).text()).toBe("the file");
  });

  test("an unknown name is 404, one that can't be served yet 503", async () => {
    expect(await get("/api/snapshot/nobody")).toEqual({ status: 404, body: { error: "Entity not found" } });
    await api.add(USERS, "pending");
    api.legacy = () => Promise.reject(new EmcacheError("snapshot_not_ready", "There is nothing to start from yet"));
    expect(await get("/api/snapshot/users")).toEqual({
      status: 503,
      body: { error: "There is nothing to start from yet" },
    });
  });
});
