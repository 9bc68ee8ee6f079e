import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CacheFile } from "@emcache/cache-file";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeEntity } from "../entity/testing/make-entity.ts";
import { createLogger } from "../runtime/logger.ts";
import type { Query } from "./query-message.ts";
import { QueryRunner } from "./query-runner.ts";

const folder = mkdtempSync(join(tmpdir(), "emcache-query-"));
const path = join(folder, "users.v1.db");
const entity = {
  ...makeEntity([]),
  shape: {
    id_column: { path: "$._id", type: "string" as const },
    columns: [
      { name: "n", type: "integer" as const, path: "$.n" },
      { name: "text", type: "string" as const, path: "$.text" },
    ],
    indexes: [],
  },
};
let file: CacheFile;
let runner = makeRunner(20_000);

function makeRunner(timeoutMs: number): QueryRunner {
  return new QueryRunner({ timeoutMs, logger: createLogger({ level: "fatal" }) });
}

beforeAll(() => {
  file = CacheFile.open(path, { entity, logId: "log" });
  const rows = Array.from({ length: 3_000 }, (_, index) => ({
    position: index + 2,
    version: entity.id,
    operation: "upsert" as const,
    docId: String(index),
    idType: 2,
    origin: "copy" as const,
    transaction: null,
    transactionEnd: false,
    data: `[${index === 7 ? "9223372036854775807" : index}, "text ${index}"]`,
    createdAt: "2026-01-02T03:04:05.678Z",
  }));
  const bracket = { ...rows[0]!, docId: "", data: null, idType: 0 };
  const end = { ...bracket, operation: "sync_end" as const, position: 3_002 };
  file.apply([{ ...bracket, operation: "sync_start" as const, position: 1 }, ...rows, end], {
    position: 3_002,
    tag: "t",
  });
});
afterAll(async () => {
  await runner.stop();
  file.close();
  rmSync(folder, { recursive: true });
});

function run(sql: string, rest: Partial<Query> = {}, signal = new AbortController().signal): Promise<unknown> {
  const query = { path, sql, params: [], rowsMax: 10, bytesMax: 1_000_000, ...rest };
  return runner.run(query, signal).then((json) => JSON.parse(json) as unknown);
}

/** Processes of query-worker that this test process started. */
function children(): number {
  const lines = execFileSync("ps", ["-o", "ppid=,command="], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.includes("query-worker") && Number.parseInt(line, 10) === process.pid).length;
}

test("gives columns and rows, by the entity's name and by its table", async () => {
  const view = entity.name;
  expect(await run(`select n, text from "${view}" where n in (1, ?) order by n`, { params: [2] })).toEqual({
    columns: ["n", "text"],
    rows: [
      [1, "text 1"],
      [2, "text 2"],
    ],
    truncated: false,
  });
  expect(await run("select count(*) c from data where text = :t", { params: { t: "text 9" } })).toMatchObject({
    rows: [[1]],
  });
  expect(await run("select ?, ?, ?, ?", { params: [true, null, 1.5, "x"] })).toMatchObject({
    rows: [[1, null, 1.5, "x"]],
  });
  expect(await run("  -- a comment\n /* and * another */ SELECT x'00ff', 9e999, 1.0")).toMatchObject({
    rows: [[{ base64: "AP8=" }, null, 1]],
  });
});

test("integers keep all their digits", async () => {
  const query = { path, sql: "select n from data where id = '7'", params: [], rowsMax: 1, bytesMax: 1000 };
  expect(await runner.run(query, new AbortController().signal)).toContain("[9223372036854775807]");
});

test("rows and bytes are limited", async () => {
  expect(await run("select n from data")).toMatchObject({ rows: { length: 10 }, truncated: true });
  expect(await run("select n from data limit 10")).toMatchObject({ rows: { length: 10 }, truncated: false });
  const few = (await run("select text from data", { rowsMax: 10_000, bytesMax: 500 })) as { rows: unknown[] };
  expect(few).toMatchObject({ truncated: true });
  expect(few.rows.length).toBeGreaterThan(10);
  expect(few.rows.length).toBeLessThan(60);
});

const other = join(folder, "other.db");
test.each([
  "delete from data",
  "insert into data (id) values ('x')",
  "update data set n = 1",
  "drop table data",
  "create table t (a)",
  "create temp table t (a)",
  `attach '${other}' as o`,
  `ATTACH DATABASE 'file:${other}?mode=rwc' AS o`,
  `vacuum into '${other}'`,
  "pragma journal_mode = delete",
  "pragma query_only = 0",
  "pragma writable_schema = 1",
  "pragma hard_heap_limit = 1",
  "begin immediate",
  "commit",
  "select 1; delete from data",
  "with x as (select 1) delete from data",
  "with x as (select 1) insert into data (id) select 'x'",
  "select load_extension('/lib/x86_64-linux-gnu/libm.so.6')",
  "select readfile('/etc/passwd')",
  `select writefile('${other}', 'x')`,
  "select * from other.data",
  "select * from nothing",
  "select ?",
  "selec 1",
  "",
  ";",
  "/* select 1",
  "select 'a\0b",
  "explain",
])("refused: %s", async (sql) => {
  await expect(run(sql)).rejects.toMatchObject({ code: "query_invalid" });
  expect(readdirSync(folder).filter((name) => name.startsWith("other"))).toEqual([]);
  expect(file.rowCount()).toBe(3_000);
});

test("pragmas as functions change nothing", async () => {
  for (const name of ["journal_mode", "query_only", "optimize", "wal_checkpoint", "writable_schema"]) {
    await run(`select * from pragma_${name}`).catch((error: unknown) => {
      expect(error).toMatchObject({ code: expect.stringMatching(/query_invalid|cache_unavailable/) });
    });
    await run(`select * from pragma_${name}('1')`).catch((error: unknown) => {
      expect(error).toMatchObject({ code: expect.stringMatching(/query_invalid|cache_unavailable/) });
    });
  }
  expect(file.rowCount()).toBe(3_000);
});

test("what runs too long is killed inside of one step of SQLite, and the next query runs", async () => {
  await runner.stop();
  runner = makeRunner(1_500);
  const endless = "select count(*) from data a, data b, data c, data d";
  await expect(run(endless)).rejects.toMatchObject({
    code: "query_too_expensive",
    message: expect.stringContaining("1.5 s"),
  });
  const forever = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r";
  await expect(run(forever)).rejects.toMatchObject({ code: "query_too_expensive" });
  await runner.stop();
  expect(children()).toBe(0);
  runner = makeRunner(20_000);
  expect(await run("select 1")).toMatchObject({ rows: [[1]] });
});

test("what needs too much memory ends by itself, and the server's memory does not grow", async () => {
  const before = process.memoryUsage.rss();
  for (const sql of [
    "select zeroblob(2000000000)",
    "select replace(hex(zeroblob(200000000)), '0', '0000')",
    "select hex(zeroblob(300000000))",
    "with recursive r(x) as (select 1 union all select x + 1 from r) select group_concat(hex(zeroblob(1000000))) from r",
    "select a.text || b.text || c.text t from data a, data b, data c order by t",
  ]) {
    await expect(run(sql), sql).rejects.toMatchObject({ code: "query_too_expensive" });
  }
  expect(process.memoryUsage.rss() - before).toBeLessThan(300_000_000);
  expect(await run("select 1")).toMatchObject({ rows: [[1]] });
}, 120_000);

test("a client that goes takes its query with it; more than may wait are refused", async () => {
  const end = new AbortController();
  const endless = "select count(*) from data a, data b, data c, data d";
  const running = [1, 2].map(() => run(endless, {}, end.signal).catch((error: unknown) => error));
  const waiting = Array.from({ length: 32 }, () => run("select 1"));
  await expect(run("select 1")).rejects.toMatchObject({ code: "overloaded" });
  end.abort(new Error("gone"));
  expect(await Promise.all(running)).toEqual([new Error("gone"), new Error("gone")]);
  expect(await Promise.all(waiting)).toHaveLength(32);
  await runner.stop();
  expect(children()).toBe(0);
  runner = makeRunner(20_000);
});

test("the process that runs queries sees nothing of our environment", async () => {
  await runner.stop();
  runner = makeRunner(20_000);
  process.env["EMCACHE_SECRET_TEST"] = "hunter2";
  await run("select 1");
  delete process.env["EMCACHE_SECRET_TEST"];
  const pids = execFileSync("ps", ["-o", "pid=,ppid=,command="], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line.includes("query-worker") && Number(line.trim().split(/\s+/)[1]) === process.pid)
    .map((line) => Number.parseInt(line, 10));
  expect(pids).toHaveLength(1);
  const environment = existsSync("/proc/self/environ")
    ? execFileSync("cat", [`/proc/${pids[0]}/environ`], { encoding: "utf8" })
    : "";
  expect(environment).not.toContain("hunter2");
});
