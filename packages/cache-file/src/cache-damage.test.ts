import { closeSync, existsSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, it } from "vitest";
import { CacheFile } from "./cache-file.ts";
import { openReader, readCacheState } from "./open-reader.ts";
import type { CacheRow } from "./cache-row.ts";

const ENTITY: Entity = {
  id: 1,
  name: "users",
  client: "main",
  source: "users",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [{ name: "a", type: "string", path: "$.a" }],
    indexes: [{ name: "a_idx", columns: ["a"] }],
  },
};

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "emcache-damage-"));
  path = join(directory, "users.v1.db");
});

afterEach(() => rmSync(directory, { recursive: true }));

function open(entity = ENTITY, logId = "log"): CacheFile {
  return CacheFile.open(path, { entity, logId });
}

function rows(count: number): CacheRow[] {
  const rowOf = (position: number, operation: CacheRow["operation"], docId = ""): CacheRow => {
    const data = operation === "upsert" ? JSON.stringify(["x".repeat(200)]) : null;
    return { position, operation, docId, idType: 2, origin: "stream", transaction: null, transactionEnd: false, data };
  };
  const upserts = Array.from({ length: count }, (_, index) => rowOf(index + 2, "upsert", `id-${index}`));
  return [rowOf(1, "sync_start"), ...upserts, rowOf(count + 2, "sync_end")];
}

function makeFile(): void {
  const file = open();
  file.apply(rows(2000), { position: 2002, tag: "t" });
  file.close();
}

function change(sql: string): void {
  const database = new Database(path);
  database.exec(sql);
  database.close();
}

it.each([
  ["an older format", "PRAGMA user_version = 0", "older-format"],
  ["a newer format", "PRAGMA user_version = 2", "newer-format"],
])("a file of %s is not read, and the reason names it", (_, sql, reason) => {
  makeFile();
  change(sql);
  const expected = expect.objectContaining({ code: "cache_damaged", details: { path, reason } });
  expect(() => open()).toThrow(expected);
  expect(() => readCacheState(path)).toThrow(expected);
});

it.each([
  ["a missing table", 'DROP TABLE "data_sync"'],
  ["a further column", 'ALTER TABLE "data" ADD COLUMN more'],
  ["a missing index", 'DROP INDEX "a_idx"'],
  ["a missing view", 'DROP VIEW "users"'],
  ["a lost position", "DELETE FROM metadata WHERE key = 'max_oplog_id'"],
  ["an unreadable position", "UPDATE metadata SET value = 'x' WHERE key = 'max_oplog_id'"],
  ["another format", "UPDATE metadata SET value = '99' WHERE key = 'format'"],
  ["another program's file", "PRAGMA application_id = 1"],
])("reports %s as cache_damaged", (_, sql) => {
  makeFile();
  change(sql);
  expect(() => open()).toThrow(expect.objectContaining({ code: "cache_damaged" }));
});

it("reports a file that is no database as cache_damaged", () => {
  writeFileSync(path, "not a database".repeat(1000));
  expect(() => open()).toThrow(expect.objectContaining({ code: "cache_damaged" }));
});

it("reports damaged pages as cache_damaged", () => {
  makeFile();
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(40_960, 0xa5), 0, 40_960, 65_536);
  closeSync(file);
  expect(() => open()).toThrow(expect.objectContaining({ code: "cache_damaged" }));
});

it("takes an empty file and one cut short at its creation for a new one", () => {
  writeFileSync(path, "");
  const file = open();
  expect(file.position).toBe(0);
  file.close();
});

it("reports another log as history_mismatch, another shape as cache_damaged", () => {
  makeFile();
  expect(() => open(ENTITY, "other log")).toThrow(expect.objectContaining({ code: "history_mismatch" }));
  const shape = { ...ENTITY.shape, indexes: [] };
  expect(() => open({ ...ENTITY, shape })).toThrow(expect.objectContaining({ code: "cache_damaged" }));
});

it("reports a directory that can't be written as cache_unavailable", () => {
  path = join(directory, "missing", "users.v1.db");
  expect(() => open()).toThrow(expect.objectContaining({ code: "cache_unavailable" }));
});

it("reports a lock that another program keeps as cache_unavailable, and goes on after it", () => {
  makeFile();
  const file = open();
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const apply = () => file.apply([], { position: 2003, tag: "t" });
  expect(apply).toThrow(expect.objectContaining({ code: "cache_unavailable" }));
  other.close();
  apply();
  expect(file.position).toBe(2003);
  file.close();
});

it("empties the WAL unless a reader is at an older state, and says so", () => {
  makeFile();
  const file = open();
  const reader = openReader(path);
  reader.exec("BEGIN");
  reader.prepare("SELECT count(*) FROM users").get();
  file.apply([{ ...(rows(1)[1] as CacheRow), position: 2003 }], { position: 2003, tag: "t" });
  expect(file.checkpoint()).toMatchObject({ isBlocked: true, walBytes: expect.any(Number) as number });
  expect(file.walBytes()).toBeGreaterThan(0);
  reader.exec("COMMIT");
  reader.close();
  expect(file.checkpoint()).toEqual({ isBlocked: false, walBytes: 0 });
  file.close();
});

it("notices that the file was removed under it", () => {
  makeFile();
  const file = open();
  expect(file.isInPlace()).toBe(true);
  rmSync(path);
  expect(file.isInPlace()).toBe(false);
  file.close();
  expect(existsSync(path)).toBe(false);
  expect(statSync(directory).isDirectory()).toBe(true);
});
