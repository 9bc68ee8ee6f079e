import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { MemoryObjectStore } from "./testing/memory-object-store.ts";
import { SnapshotFixture, upserts } from "./testing/snapshot-fixture.ts";

const NEVER = new AbortController().signal;
const HOUR_MS = 3_600_000;
const NEWEST = { version: null, id: null };

let fixture: SnapshotFixture;
let objects: MemoryObjectStore;
let otherFolder: string;
let offsetMs: number;

const clock = {
  nowMs: () => Date.now() + offsetMs,
  monotonicMs: () => performance.now() + offsetMs,
  sleep: (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      setTimeout(resolve, Math.min(ms, 20));
      signal.addEventListener("abort", () => resolve());
    }),
};

beforeEach(() => {
  offsetMs = 0;
  fixture = new SnapshotFixture();
  objects = new MemoryObjectStore(() => clock.nowMs());
  otherFolder = mkdtempSync(join(tmpdir(), "emcache-snapshot-other-"));
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
});

afterEach(async () => {
  await fixture.close();
  rmSync(otherFolder, { recursive: true, force: true });
});

function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}

/** Suffixes of the objects of a snapshot. */
function stored(id: string): string[] {
  return [...objects.objects.keys()].flatMap((key) => key.split(`/users/${id}`)[1] ?? []).sort();
}

const FORMS = [".db", ".db.gz", ".db.zst", ".json"];

test("what could not be stored is stored when the storage is back, and goes with its snapshot", async () => {
  objects.isAway = true;
  const manager = fixture.manager({ objectStore: objects, clock, checkIntervalMs: 20, keepCount: 1 });
  await manager.start();
  const { id } = await manager.create("users", NEVER);
  objects.isAway = false;
  await eventually(() => expect(stored(id)).toEqual(FORMS));
  await eventually(() => expect(fixture.store.records.get(id)?.objectKey).toMatch(/^p\/snapshots\/.*\/users\//));
  fixture.apply(1, upserts(1, "stream", 9));
  const next = await manager.create("users", NEVER);
  await eventually(() => expect([stored(id), stored(next.id)]).toEqual([[], FORMS]));
});

test("orphans of crashes go when they are a day old; what a lost machine stored is kept by the same rules", async () => {
  const manager = fixture.manager({ objectStore: objects, clock, checkIntervalMs: 20, keepCount: 2 });
  await manager.start();
  const { id, log_id: logId, ...rest } = await manager.create("users", NEVER);
  await eventually(() => expect(stored(id)).toEqual(FORMS));
  const folder = `p/snapshots/${logId}/users`;
  objects.put(`${folder}/orphan.db`, Buffer.from("x"));
  objects.put("p/snapshots/another-log/users/x.db", Buffer.from("x"));
  objects.uploads.push({ key: `${folder}/cut.db`, uploadId: "u", startedAtMs: clock.nowMs() });
  // Two older ones of a machine that is gone.
  for (const [lost, position] of [
    ["lost1", 1],
    ["lost2", 2],
  ] as const) {
    objects.put(`${folder}/${lost}.db`, Buffer.from("x"));
    const manifest = { ...rest, id: lost, log_id: logId, position };
    const place = { holder: "gone", path: "/x", url: "", objectKey: `${folder}/${lost}` };
    await fixture.store.insert({ manifest, ...place });
    fixture.store.change(lost, { silentS: 100_000 });
  }
  offsetMs = 2 * HOUR_MS;
  await eventually(() => expect(fixture.store.records.has("lost1")).toBe(false));
  expect(stored("orphan")).toEqual([".db"]);
  offsetMs = 30 * HOUR_MS;
  await eventually(() => expect([stored("orphan"), objects.uploads]).toEqual([[], []]));
  expect(stored("lost1")).toEqual([]);
  expect(objects.objects.has("p/snapshots/another-log/users/x.db")).toBe(true);
});

test("another process serves what is stored, restores from it, and begins its caches with it", async () => {
  const manager = fixture.manager({ objectStore: objects, clock, checkIntervalMs: 20 });
  await manager.start();
  const manifest = await manager.create("users", NEVER);
  await eventually(() => expect(fixture.store.records.get(manifest.id)?.objectKey).not.toBeNull());
  const position = fixture.apply(1, upserts(2, "stream", 20));
  const other = fixture.manager({
    baseDir: otherFolder,
    holder: "there",
    objectStore: objects,
    clock,
    caches: { statuses: () => new Map(), pathOf: () => null },
  });
  await other.start();
  const found = await other.find("users", { version: null, id: manifest.id }, "identity", NEVER);
  if (found?.kind !== "file") throw new Error("it was to be fetched");
  expect(readFileSync(found.file.forms[0]?.path ?? "").length).toBe(manifest.size_bytes);
  const point = await other.restore("users", { position }, NEVER);
  expect(point).toMatchObject({ kind: "file", file: { manifest: { position, rows: 5 } } });

  const cachePath = join(otherFolder, "users.v1.db");
  await other.bootstrapCaches(() => cachePath, NEVER);
  expect(existsSync(cachePath)).toBe(true);

  objects.presigns = true;
  expect(await other.find("users", NEWEST, "zstd", NEVER)).toMatchObject({
    kind: "elsewhere",
    isObject: true,
    url: expect.stringMatching(/^https:\/\/storage\/p\/.*\.db\.zst\?signed$/),
  });
  objects.presigns = false;

  // A bit that flipped in the storage: refused, for a request as for a cache.
  for (const [key, { bytes }] of objects.objects) {
    if (key.endsWith(".db")) bytes[100] = (bytes[100] ?? 0) ^ 1;
  }
  rmSync(cachePath);
  await other.bootstrapCaches(() => cachePath, NEVER);
  expect(existsSync(cachePath)).toBe(false);
  const third = fixture.manager({
    baseDir: join(otherFolder, "third"),
    holder: "third",
    objectStore: objects,
    clock,
    caches: { statuses: () => new Map(), pathOf: () => null },
  });
  await third.start();
  await expect(third.find("users", NEWEST, "identity", NEVER)).rejects.toMatchObject({ code: "snapshot_damaged" });
});
