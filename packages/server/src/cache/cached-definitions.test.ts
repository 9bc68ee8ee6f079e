import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CacheFile } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogger } from "../runtime/logger.ts";
import { cachedDefinitions } from "./cached-definitions.ts";

let baseDir: string;
beforeEach(() => {
  baseDir = mkdtempSync(join(tmpdir(), "emcache-definitions-"));
});
afterEach(() => rmSync(baseDir, { recursive: true }));

function makeCache(id: number, name: string, column: string): Entity {
  const entity: Entity = {
    id,
    name,
    client: "main",
    source: name,
    filter: { kind: "a" },
    created_at: "2026-01-01T00:00:00Z",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [{ name: column, type: "string", path: "$.a" }],
      indexes: [],
    },
  };
  CacheFile.open(join(baseDir, `${name}.v${id}.db`), { entity, logId: "log" }).close();
  return entity;
}

test("the newest definition of each entity is read from its cache, of whatever format; an unreadable one is named", () => {
  makeCache(1, "users", "old");
  const users = makeCache(4, "users", "new");
  const orders = makeCache(2, "orders", "a");
  const database = new Database(join(baseDir, "orders.v2.db"));
  database.pragma("user_version = 0");
  database.close();
  writeFileSync(join(baseDir, "broken.v3.db"), "no database");
  const lines: string[] = [];
  const logger = createLogger({ level: "error", destination: { write: (line: string) => void lines.push(line) } });
  const definitions = cachedDefinitions(baseDir, logger).sort((a, b) => a.name.localeCompare(b.name));
  const definitionOf = ({ id: _id, created_at: _createdAt, ...definition }: Entity) => definition;
  expect(definitions).toEqual([definitionOf(orders), definitionOf(users)]);
  expect(lines).toEqual([expect.stringContaining("broken.v3.db")]);
});
