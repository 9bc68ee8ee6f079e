import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, it } from "vitest";
import { buildSnapshot } from "./build-snapshot.ts";
import { CacheFile } from "./cache-file.ts";
import type { CacheRow } from "./cache-row.ts";

const ENTITY: Entity = {
  id: 1,
  name: "users",
  client: "main",
  source: "users",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [{ name: "a", type: "any", path: "$.a" }],
    indexes: [{ name: "a_idx", columns: ["a"] }],
  },
};

let directory: string;
let file: CacheFile;
let target: string;

function row(position: number, operation: CacheRow["operation"], docId = "", data: string | null = null): CacheRow {
  return { position, operation, docId, idType: 2, origin: "stream", transaction: null, transactionEnd: false, data };
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "emcache-snapshot-"));
  target = join(directory, "snapshot.db");
  file = CacheFile.open(join(directory, "users.v1.db"), { entity: ENTITY, logId: "log" });
  file.apply([row(10, "sync_start"), row(11, "upsert", "x", '["1"]'), row(12, "sync_end")], {
    position: 12,
    tag: "t12",
  });
});

afterEach(() => {
  file.close();
  rmSync(directory, { recursive: true });
});

it("holds what the cache held at one position, in a single file, and leaves the cache alone", () => {
  const reader = new Database(file.path, { readonly: true });
  const built = buildSnapshot(file.path, target);
  expect(built).toMatchObject({ logId: "log", version: 1, position: 12, tag: "t12", mode: "live", rows: 1 });
  expect(readdirSync(directory).filter((name) => name.startsWith("snapshot"))).toEqual(["snapshot.db"]);
  file.apply([row(13, "upsert", "y", "[2.0]")], { position: 13, tag: "t13" });
  const snapshot = new Database(target, { readonly: true });
  expect(snapshot.prepare("SELECT id, a, typeof(a) AS t FROM users").all()).toEqual([{ id: "x", a: "1", t: "text" }]);
  expect(snapshot.pragma("journal_mode", { simple: true })).toBe("delete");
  snapshot.close();
  reader.close();
});

it("can be followed on as a cache file", () => {
  buildSnapshot(file.path, target);
  const follower = CacheFile.open(target, { entity: ENTITY, logId: "log" });
  follower.apply([row(13, "upsert", "y", "[2]")], { position: 13, tag: "t13" });
  expect([follower.position, follower.rowCount()]).toEqual([13, 2]);
  follower.close();
});

it("is refused while data is not whole, and leaves no file", () => {
  const fresh = CacheFile.open(join(directory, "fresh.db"), { entity: ENTITY, logId: "log" });
  expect(() => buildSnapshot(fresh.path, target)).toThrow(expect.objectContaining({ code: "snapshot_not_ready" }));
  fresh.close();
  expect(existsSync(target)).toBe(false);
});
