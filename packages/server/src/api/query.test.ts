import { join } from "node:path";
import { CacheFile } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { QueryRunner } from "../cache/query-runner.ts";
import { runCommandLine } from "../cli/command-line.ts";
import { createLogger } from "../runtime/logger.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

const runner = new QueryRunner({ timeoutMs: 20_000, logger: createLogger({ level: "fatal" }) });
let api: TestApi;

beforeAll(async () => {
  api = await new TestApi({ queries: runner }).start();
  const version = await api.add(USERS, "live");
  await api.add({ ...USERS, name: "copying" }, "pending");
  const path = join(api.folder, "users.db");
  const file = CacheFile.open(path, { entity: { ...USERS, id: version, created_at: "" }, logId: "log" });
  const row = { operation: "upsert", idType: 2, origin: "stream", transaction: null, transactionEnd: false } as const;
  const bracket = { ...row, docId: "", idType: 0, origin: "copy", data: null } as const;
  file.apply(
    [
      { ...bracket, operation: "sync_start", position: 1 },
      { ...row, origin: "copy", position: 2, docId: "a", data: '["ann@example.com","Ann",41]' },
      {
        ...row,
        origin: "copy",
        position: 3,
        docId: "b",
        data: '["bob@example.com","Bo\\nb\\u001b[31m",9007199254740993]',
      },
      { ...bracket, operation: "sync_end", position: 4 },
    ],
    { position: 4, tag: "t" },
  );
  file.close();
  api.cachePaths.set(version, path);
});
afterAll(async () => {
  await api.close();
  await runner.stop();
});

const PATH = "/api/entities/users/query";

test("answers with columns and rows, integers with all their digits", async () => {
  const sql = "select name, age from users where id = ?";
  const response = await api.send("POST", PATH, { sql, params: ["b"] });
  expect(response.headers.get("cache-control")).toBe("no-store");
  expect(await response.text()).toBe(
    '{"columns":["name","age"],"rows":[["Bo\\nb\\u001b[31m",9007199254740993]],"truncated":false}',
  );
});

test.each([
  [{ sql: "delete from users" }, 400, "query_invalid"],
  [{ sql: "select * from secrets" }, 400, "query_invalid"],
  [{ sql: "" }, 400, "bad_request"],
  [{}, 400, "bad_request"],
  [{ sql: "select 1", limit: 0 }, 400, "bad_request"],
  [{ sql: "select 1", limit: 1e9 }, 400, "bad_request"],
  [{ sql: "select 1", params: [[1]] }, 400, "bad_request"],
  [{ sql: "select 1", params: [1] }, 400, "query_invalid"],
  [{ sql: "select :a", params: { b: 1 } }, 400, "query_invalid"],
  [{ sql: "select :a", params: JSON.parse('{"__proto__": 1}') as unknown }, 400, "query_invalid"],
])("%j is answered %i", async (body, status, code) => {
  const response = await api.send("POST", PATH, body);
  expect({ status: response.status, ...((await response.json()) as object) }).toMatchObject({ status, code });
});

test("an entity without rows here, or that there is not", async () => {
  const body = { sql: "select 1" };
  expect((await api.send("POST", "/api/entities/copying/query", body)).status).toBe(503);
  expect((await api.send("POST", "/api/entities/nothing/query", body)).status).toBe(404);
});

test("emcache sql shows a table, or the server's answer", async () => {
  const run = async (...args: string[]): Promise<unknown> => {
    let out = "";
    let err = "";
    const exitCode = await runCommandLine(["sql", "users", ...args, "--url", api.url], {
      print: (text) => void (out += text),
      printError: (text) => void (err += text),
    });
    return { exitCode, out, err };
  };
  expect(await run("select id, name, age from users order by id")).toEqual({
    exitCode: 0,
    out: [
      "id  name                    age",
      "--  ---------  ----------------",
      "a   Ann                      41",
      "b   Bo·b·[31m  9007199254740993\n",
    ].join("\n"),
    err: "",
  });
  expect(await run("select age from users where age >= ?", "--param", "41", "--limit", "1", "--json")).toEqual({
    exitCode: 0,
    out: '{"columns":["age"],"rows":[[41]],"truncated":true}\n',
    err: "",
  });
  expect(await run("drop table data")).toMatchObject({ exitCode: 1, err: expect.stringContaining("query_invalid") });
});

test("too much to ask at once is told to come again", async () => {
  const busy = await new TestApi({
    queries: { run: () => Promise.reject(new EmcacheError("overloaded", "busy")) },
  }).start();
  const version = await busy.add(USERS, "live");
  busy.cachePaths.set(version, "/nonexistent");
  const response = await busy.send("POST", PATH, { sql: "select 1" });
  expect(response.status).toBe(429);
  expect(response.headers.get("retry-after")).toBe("1");
  await busy.close();
});
