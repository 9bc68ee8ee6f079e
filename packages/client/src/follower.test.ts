import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openReader, readCacheState } from "@emcache/cache-file";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { useTestFolder } from "../../../test/support/use-test-folder.ts";
import type { EntityStatus, RowChange } from "./follow-report.ts";
import type { FollowState } from "./follow-state.ts";
import { Follower } from "./follower.ts";
import { SHAPE } from "./testing/test-log.ts";
import { TestServer } from "./testing/test-server.ts";

const DEADLINE_MS = 30_000;
const folder = useTestFolder("follower");
let server: TestServer;
let dir: string;
let folders = 0;
let running: RunningFollower[] = [];

/** A follower that runs in this thread, with what it told. */
class RunningFollower {
  readonly states: FollowState[] = [];
  readonly changes: RowChange[] = [];
  readonly #end = new AbortController();
  readonly #done: Promise<void>;
  readonly follower: Follower;
  last = new Map<string, EntityStatus>();

  constructor(entities: readonly string[], options: { token?: string; staleAfterMs?: number } = {}) {
    this.follower = new Follower(
      { url: server.url, dir, entities, staleAfterMs: 200, ...options },
      {
        status: (status) => {
          if (this.last.get(status.name)?.state !== status.state) this.states.push(status.state);
          this.last.set(status.name, status);
        },
        rowsChanged: () => {},
        changes: async (_entity, changes) => void this.changes.push(...changes),
      },
    );
    this.#done = this.follower.run(this.#end.signal);
    running.push(this);
  }

  async until(name: string, isIt: (status: EntityStatus) => boolean): Promise<EntityStatus> {
    return eventually(
      () => {
        const status = this.last.get(name);
        return status !== undefined && isIt(status) ? status : null;
      },
      DEADLINE_MS,
      () => `${name} gets there; it is ${JSON.stringify(this.last.get(name))}`,
    );
  }

  /** Waits until it is live at the log's head, and its rows are the log's. */
  async equal(name: string): Promise<void> {
    await this.until(name, ({ state, position }) => state === "live" && position === server.log.head);
    assert.deepEqual(rowsOf(name), server.log.expected(name));
  }

  async stop(): Promise<void> {
    this.#end.abort();
    running = running.filter((one) => one !== this);
    await this.#done;
  }
}

function rowsOf(name: string): Map<string, string> {
  const database = openReader(join(dir, `${name}.db`));
  try {
    const rows = database.prepare<[], { id: string; email: string; age: number }>(`SELECT * FROM ${name}`).all();
    return new Map(rows.map(({ id, ...columns }) => [id, JSON.stringify(Object.values(columns))]));
  } finally {
    database.close();
  }
}

function file(name: string): string {
  return realpathSync(join(dir, `${name}.db`));
}

beforeEach(async () => {
  dir = join(folder, `dir-${(folders += 1)}`);
  server = await TestServer.start();
});
afterEach(async () => {
  for (const one of running) await one.stop();
  await server.stop();
});

test("starts from a snapshot, follows, and leaves files that any SQLite reader reads", async () => {
  server.log.define("users", { a: '["a@x",1]', b: '["b@x",2]' });
  server.log.snapshot("users");
  server.log.append("users", { docId: "c", data: '["c@x",3]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  server.log.append("users", { docId: "a", operation: "delete" });
  await client.equal("users");
  expect([...rowsOf("users").keys()]).toEqual(["b", "c"]);
  expect(client.states).toEqual(["bootstrapping", "catching_up", "live"]);
});

test("has a snapshot made where there is none", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  expect(server.requests).toContain("POST /api/snapshots/users");
});

test("starts from its files while the server is away, is stale, and goes on when it is back", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  server.log.snapshot("users");
  const first = new RunningFollower(["users"]);
  await first.equal("users");
  await first.stop();
  await server.stop();
  const client = new RunningFollower(["users"]);
  await client.until("users", ({ state }) => state === "stale");
  expect(rowsOf("users").size).toBe(1);
  expect(client.last.get("users")?.error?.code).toBe("server_unreachable");
  server.log.append("users", { docId: "b" });
  await server.listen();
  await client.equal("users");
  expect(client.last.get("users")).toMatchObject({ resets: 0, error: null });
  expect(server.requests.filter((path) => path.startsWith("GET /api/snapshots"))).toHaveLength(1);
});

test("several entities at different positions meet in one request", async () => {
  server.limitMax = 3;
  for (const name of ["users", "orders", "items"]) {
    server.log.define(name, { a: '["a@x",1]' });
    server.log.snapshot(name);
    for (let n = 0; n < 20; n += 1) server.log.append(name, { docId: `${name}-${n}` });
  }
  const client = new RunningFollower(["users", "orders", "items"]);
  for (const name of ["users", "orders", "items"]) await client.equal(name);
  server.log.append("orders", { docId: "last" });
  for (const name of ["users", "orders", "items"]) await client.equal(name);
  const last = server.requests.findLast((path) => path.includes("wait_ms"));
  expect(last?.match(/versions=/g)).toHaveLength(3);
});

test("a source transaction over pages is visible as a whole or not at all", async () => {
  server.log.define("users");
  server.log.snapshot("users");
  server.limitMax = 2;
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  const before = server.log.head;
  for (let n = 0; n < 5; n += 1) server.log.append("users", { docId: `t${n}`, transaction: "t" });
  await eventually(
    () => server.requests.some((path) => path.includes(`after=${before + 5}&`)),
    DEADLINE_MS,
    "all was read",
  );
  expect(rowsOf("users").size).toBe(0);
  expect(client.last.get("users")?.position).toBe(before);
  server.log.append("users", { docId: "t5", transaction: "t", transactionEnd: true });
  await client.equal("users");
  expect(rowsOf("users").size).toBe(6);
});

test("409: another log is started anew, and the old rows are served meanwhile", async () => {
  server.log.define("users", { old: '["old",1]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  const old = file("users");
  let isHeld = true;
  server.fault = (_request, response, url) => {
    if (!isHeld || !url.pathname.startsWith("/api/snapshots")) return false;
    response.writeHead(503).end();
    return true;
  };
  server.log.rewrite(1);
  server.log.append("users", { docId: "new", origin: "copy", data: '["new",2]' });
  server.log.append("users", { operation: "sync_end" });
  server.log.append("users", { docId: "more", data: '["more",3]' });
  await client.until("users", ({ state }) => state === "resetting");
  expect(client.last.get("users")?.error?.code).toMatch(/history_mismatch|server_unreachable/);
  expect([...rowsOf("users").keys()]).toEqual(["old"]);
  isHeld = false;
  await client.equal("users");
  expect([...rowsOf("users").keys()].toSorted()).toEqual(["more", "new"]);
  expect(client.last.get("users")?.resets).toBe(1);
  expect(file("users")).not.toBe(old);
  // Whoever has just looked up its name can still open it; the next start removes it.
  expect(existsSync(old)).toBe(true);
  await client.stop();
  await new RunningFollower(["users"]).equal("users");
  expect(existsSync(old)).toBe(false);
});

test("409: another deployment with the same names is not mixed with the first", async () => {
  server.log.define("users", { a: '["first",1]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  const first = client.last.get("users")?.logId;
  server.log.logId = "another";
  server.log.rewrite(1);
  server.log.append("users", { docId: "z", origin: "copy", data: '["second",2]' });
  server.log.append("users", { operation: "sync_end" });
  await client.until("users", ({ logId }) => logId === "another");
  await client.equal("users");
  expect(readCacheState(file("users")).logId).toBe("another");
  expect(first).not.toBe("another");
});

test("410: a position that the log no longer holds is started anew", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  const first = new RunningFollower(["users"]);
  await first.equal("users");
  await first.stop();
  for (let n = 0; n < 5; n += 1) server.log.append("users", { docId: `n${n}` });
  server.log.snapshot("users");
  server.log.floor = server.log.head;
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  expect(client.states).toContain("resetting");
  expect(client.last.get("users")?.resets).toBe(1);
});

test("a changed shape is switched to at once, when it is whole", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  const columns = [...SHAPE.columns, { name: "city", type: "string", path: "$.city" } as const];
  server.log.define("users", { a: '["a@x",1,"Bonn"]' }, { ...SHAPE, columns });
  await client.equal("users");
  expect(rowsOf("users")).toEqual(new Map([["a", '["a@x",1,"Bonn"]']]));
  expect(client.last.get("users")).toMatchObject({ version: 2, resets: 1 });
});

test("an entity that is deleted at the server stays readable, and says so; created anew, it is fetched", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  server.log.states.delete(1);
  server.log.entities.delete("users");
  server.log.append({ ...SHAPED, id: 1 }, { docId: "b" });
  await client.until("users", ({ error }) => error?.code === "entity_not_found");
  expect(rowsOf("users").size).toBe(1);
  server.log.define("users", { z: '["z@x",1]' });
  await client.equal("users");
});

const SHAPED = { name: "users", client: "main", source: "users", shape: SHAPE, created_at: "" };

for (const [what, damage] of [
  ["has other bytes", (path: string) => writeFileSync(path, Buffer.alloc(8192, 7))],
  ["is cut", (path: string) => truncateSync(path, statSync(path).size - 4096)],
  ["is empty", (path: string) => truncateSync(path, 0)],
  ["has a flipped bit", flipBit],
] as const) {
  test(`a file that ${what} is set aside and fetched again`, async () => {
    server.log.define("users", { a: '["a@x",1]', b: '["b@x",2]' });
    const first = new RunningFollower(["users"]);
    await first.equal("users");
    await first.stop();
    damage(file("users"));
    const client = new RunningFollower(["users"]);
    await client.equal("users");
    expect(readdirSync(dir).some((name) => name.includes(".damaged-"))).toBe(true);
    expect(client.states.slice(0, 1)).toEqual(["bootstrapping"]);
  });
}

function flipBit(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.lastIndexOf("b@x");
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}

test("a download that breaks off goes on where it ended, and a damaged one is thrown away", async () => {
  server.log.define("users", Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`u${n}`, `["${n}@x",${n}]`])));
  const { zstd } = server.log.snapshot("users");
  let breaks = 0;
  const ranges: (string | undefined)[] = [];
  server.fault = (request, response, url) => {
    if (!url.pathname.startsWith("/api/snapshots")) return false;
    ranges.push(request.headers.range);
    if (breaks === 2) return false;
    breaks += 1;
    const half = Math.floor(zstd.length / 2);
    const headers = snapshotHeaders();
    if (breaks === 1) {
      response.writeHead(200, { ...headers, "content-length": zstd.length });
      response.write(zstd.subarray(0, half));
      const partial = join(dir, "users.v1.partial");
      const isThere = (): boolean => (statSync(partial, { throwIfNoEntry: false })?.size ?? 0) > 0;
      void eventually(isThere, DEADLINE_MS, "something was downloaded").then(() => response.destroy());
    } else {
      // The rest, with a wrong byte.
      const rest = Buffer.from(zstd.subarray(half));
      rest[rest.length - 20] = (rest[rest.length - 20] as number) ^ 1;
      const range = `bytes ${half}-${zstd.length - 1}/${zstd.length}`;
      response.writeHead(206, { ...headers, "content-range": range, "content-length": rest.length }).end(rest);
    }
    return true;
  };
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/), undefined]);
});

function snapshotHeaders(): Record<string, string> {
  const snapshot = server.log.snapshots.get(1);
  if (snapshot === undefined) throw new Error("no snapshot");
  return {
    "emcache-version": "1",
    "emcache-log-id": snapshot.logId,
    "emcache-position": String(snapshot.position),
    "emcache-sha256": snapshot.sha256,
    etag: `"${snapshot.sha256}-zstd"`,
    "content-encoding": "zstd",
  };
}

test("a second client in the same folder is refused", async () => {
  server.log.define("users");
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  expect(() => new Follower({ url: server.url, dir, entities: ["users"] }, client as never)).toThrow(
    expect.objectContaining({ code: "directory_locked" }),
  );
});

test("a wrong token: the error says so, and the right one goes on", async () => {
  server.token = "right";
  server.log.define("users", { a: '["a@x",1]' });
  const wrong = new RunningFollower(["users"], { token: "wrong" });
  await wrong.until("users", ({ error }) => error?.code === "server_refused");
  await wrong.stop();
  const client = new RunningFollower(["users"], { token: "right" });
  await client.equal("users");
});

test("what a crash left in the folder goes, what is not ours stays", async () => {
  server.log.define("users", { a: '["a@x",1]' });
  const first = new RunningFollower(["users"]);
  await first.equal("users");
  await first.stop();
  for (const name of ["users.v9.0a0b0c0d.db", "users.v9.0a0b0c0d.db-wal", "users.txt", "users_old.v1.db"]) {
    appendFileSync(join(dir, name), "x");
  }
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  const left = readdirSync(dir);
  expect(left).not.toContain("users.v9.0a0b0c0d.db");
  expect(left).not.toContain("users.v9.0a0b0c0d.db-wal");
  expect(left).toEqual(expect.arrayContaining(["users.txt", "users_old.v1.db", "users.db"]));
});

test("changes of rows: before and after, through a copy and a new file too, each once", async () => {
  server.log.define("users", { a: '["a",1]', b: '["b",2]' });
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  client.follower.watchRows("users", true);
  const told = (): unknown[] =>
    client.changes.splice(0).map(({ id, before, after }) => [id, before?.["age"], after?.["age"]]);
  server.log.append("users", { docId: "a", data: '["a",9007199254740993]' });
  server.log.append("users", { docId: "b", data: '["b",2]' });
  server.log.append("users", { docId: "c", data: '["c",3]' });
  await client.until("users", ({ state, position }) => state === "live" && position === server.log.head);
  expect(told()).toEqual([
    ["a", 1, 9007199254740993n],
    ["c", undefined, 3],
  ]);
  server.log.append("users", { operation: "sync_start" });
  server.log.append("users", { docId: "a", data: '["a",5]', origin: "copy" });
  server.log.append("users", { docId: "c", data: '["c",3]', origin: "copy" });
  server.log.append("users", { operation: "sync_end" });
  await client.until("users", ({ state, position }) => state === "live" && position === server.log.head);
  expect(told()).toEqual([
    ["a", 9007199254740993n, 5],
    ["b", 2, undefined],
  ]);
  server.log.define("users", { c: '["c",3]', d: '["d",4]' });
  await client.until("users", ({ version, state }) => version === 2 && state === "live");
  expect(told()).toEqual([
    ["a", 5, undefined],
    ["d", undefined, 4],
  ]);
});

test("an answer that was meant for another client, further on, is not taken: it would leave rows out", async () => {
  const { id } = server.log.define("users", { a: '["a@x",1]' });
  const { position: after } = server.log.snapshot("users");
  server.log.append("users", { docId: "left-out" });
  server.log.append("users", { docId: "b" });
  const elsewhere = new URLSearchParams({
    after: String(after + 1),
    versions: String(id),
    log_id: server.log.logId,
    tag: server.log.tagAt(after + 1) ?? "",
  });
  let wrong = 0;
  server.fault = (_request, response, url) => {
    if (url.pathname !== "/api/follow" || url.searchParams.get("after") !== String(after) || wrong > 0) return false;
    wrong += 1;
    const headers = { "emcache-request": "another" };
    void fetch(`${server.url}/api/follow?${elsewhere.toString()}`, { headers }).then(async (answer) => {
      response.writeHead(200, { "emcache-request": "another" }).end(await answer.text());
    });
    return true;
  };
  const client = new RunningFollower(["users"]);
  await client.equal("users");
  expect(wrong).toBe(1);
  expect([...rowsOf("users").keys()].toSorted()).toEqual(["a", "b", "left-out"]);
});

test("entities meet in one request although the log never stands still", async () => {
  for (const name of ["users", "orders"]) {
    server.log.define(name, { a: '["a@x",1]' });
    server.log.snapshot(name);
  }
  let isQuiet = false;
  server.fault = (_request, _response, url) => {
    // The head is another one with each request, so no two files are there at once.
    if (!isQuiet && url.pathname === "/api/follow") server.log.append("users", { docId: `u${server.log.head}` });
    return false;
  };
  const client = new RunningFollower(["users", "orders"]);
  const isOne = (path: string): boolean => path.match(/versions=/g)?.length === 2;
  await eventually(() => server.requests.some(isOne), DEADLINE_MS, "one request asks for both");
  isQuiet = true;
  for (const name of ["users", "orders"]) await client.equal(name);
});
