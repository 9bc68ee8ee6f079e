import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SnapshotManifest } from "@emcache/protocol";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeEntity } from "../entity/testing/make-entity.ts";
import { createLogger } from "../runtime/logger.ts";
import { CacheRestorer } from "./cache-restorer.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "emcache-restorer-"));
  writeFileSync(join(folder, "snapshot.db"), "a snapshot");
});

afterEach(() => rmSync(folder, { recursive: true }));

const entity = makeEntity([]);

function manifest(change: Partial<SnapshotManifest> = {}): SnapshotManifest {
  return {
    id: "one",
    entity: entity.name,
    version: 7,
    log_id: "log",
    position: 50,
    tag: "t",
    cluster_time_s: null,
    rows: 1,
    size_bytes: 10,
    sha256: "",
    compressions: [],
    created_at: "2026-01-01T00:00:00Z",
    ...change,
  };
}

/** A restorer whose newest snapshot is this one, beside a log that holds what lies from position 40 on. */
function restorerOf(newest: SnapshotManifest | null): { restorer: CacheRestorer; restored: number[] } {
  const restored: number[] = [];
  const restorer = new CacheRestorer({
    snapshots: {
      newest: async () => (newest === null ? null : { manifest: newest, path: join(folder, "snapshot.db") }),
    },
    registry: { list: () => [{ entity, state: "live" }] },
    oplog: { head: async () => ({ logId: "log", floor: 40, head: 60 }) },
    caches: {
      restoringPathOf: (version) => (version === 7 ? join(folder, "cache.restoring") : null),
      restored: (version) => restored.push(version),
    },
    logger: createLogger({ level: "silent" }),
  });
  return { restorer, restored };
}

it("puts the newest snapshot beside the cache, once", async () => {
  const { restorer, restored } = restorerOf(manifest());
  expect(await restorer.restore(7)).toBe(true);
  expect(readFileSync(join(folder, "cache.restoring"), "utf8")).toBe("a snapshot");
  expect(restored).toEqual([7]);
  // It was of no use: the cache asks again.
  expect(await restorer.restore(7)).toBe(false);
});

it.each([
  ["no snapshot", null],
  ["one that the log can't go on from", manifest({ position: 38 })],
  ["one of another log", manifest({ log_id: "other" })],
])("leaves it to a copy where there is %s", async (_, newest) => {
  const { restorer, restored } = restorerOf(newest);
  expect(await restorer.restore(7)).toBe(false);
  expect(await restorer.restore(8)).toBe(false);
  expect(restored).toEqual([]);
});
