import { openReader, readCacheState } from "@emcache/cache-file";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Clock } from "../runtime/clock.ts";
import type { SnapshotManager } from "./snapshot-manager.ts";
import { SnapshotFixture, upserts } from "./testing/snapshot-fixture.ts";

const NEVER = new AbortController().signal;
const HOUR_MS = 3_600_000;
const NEWEST = { version: null, id: null };

let fixture: SnapshotFixture;
let otherFolder: string;

beforeEach(() => {
  fixture = new SnapshotFixture();
  otherFolder = mkdtempSync(join(tmpdir(), "emcache-snapshot-other-"));
});

afterEach(async () => {
  await fixture.close();
  rmSync(otherFolder, { recursive: true, force: true });
});

function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}

/** A process on the same PostgreSQL, with no caches and a directory of its own. */
async function otherProcess(): Promise<SnapshotManager> {
  const other = fixture.manager({
    baseDir: otherFolder,
    holder: "there",
    caches: { statuses: () => new Map(), pathOf: () => null },
  });
  await other.start();
  return other;
}

/** Time that the test moves; waits are real, and short. */
function movedClock(): Clock & { offsetMs: number } {
  return {
    offsetMs: 0,
    nowMs() {
      return Date.now() + this.offsetMs;
    },
    monotonicMs: () => performance.now(),
    sleep: (ms, signal) =>
      new Promise<void>((resolve) => {
        setTimeout(resolve, Math.min(ms, 20));
        signal.addEventListener("abort", () => resolve());
      }),
  };
}

test("another process leads to the holder, if that says how it is reached and lives", async () => {
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
  const holder = fixture.manager({ advertiseUrl: "http://first:8080", checkIntervalMs: 10_000 });
  await holder.start();
  const manifest = await holder.create("users", NEVER);
  const other = await otherProcess();
  expect(await other.find("users", NEWEST, "identity", NEVER)).toEqual({
    kind: "elsewhere",
    manifest,
    url: `http://first:8080/api/snapshots/users?id=${manifest.id}`,
    isObject: false,
  });
  expect((await other.list("users")).map(({ id }) => id)).toContain(manifest.id);
  expect(await other.restore("users", { position: 3 }, NEVER)).toMatchObject({
    kind: "elsewhere",
    url: "http://first:8080/api/snapshots/users?position=3",
  });
  expect(await other.find("users", { version: 99, id: null }, "identity", NEVER)).toBeNull();
  fixture.store.change(manifest.id, { url: "" });
  await expect(other.find("users", { version: null, id: manifest.id }, "zstd", NEVER)).rejects.toMatchObject({
    code: "snapshot_elsewhere",
    details: { holder: "here" },
  });
  for (const id of fixture.store.records.keys()) fixture.store.change(id, { silentS: 1_000 });
  expect(await other.find("users", NEWEST, "identity", NEVER)).toBeNull();
});

test("what another process deletes is removed by its holder", async () => {
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
  const holder = fixture.manager({ checkIntervalMs: 20 });
  await holder.start();
  const { id } = await holder.create("users", NEVER);
  await eventually(() => expect(fixture.store.records.has(id)).toBe(true));
  const other = await otherProcess();
  await other.remove("users", id, NEVER);
  expect((await other.list("users")).map((manifest) => manifest.id)).not.toContain(id);
  await eventually(async () => {
    expect((await holder.list("users")).map((manifest) => manifest.id)).not.toContain(id);
    expect(fixture.store.records.has(id)).toBe(false);
  });
  await expect(other.remove("users", id, NEVER)).rejects.toMatchObject({ code: "snapshot_not_found" });
});

test("a snapshot that fell far behind without a new row is stamped anew; with one, it is built", async () => {
  fixture.add(1, "quiet", "live");
  fixture.add(2, "busy", "live");
  fixture.copy(1, 5);
  fixture.copy(2, 5);
  const clock = movedClock();
  const manager = fixture.manager({ clock, checkIntervalMs: 20, minLag: 1_000 });
  await manager.start();
  await eventually(async () => expect(await manager.list("quiet")).toHaveLength(1));
  const [first] = await manager.list("quiet");
  const position = fixture.apply(2, upserts(3, "stream"));
  clock.offsetMs = 2 * HOUR_MS;
  await eventually(async () => expect(await manager.list("quiet")).toHaveLength(2));
  const stamped = await manager.newest("quiet");
  expect(stamped?.manifest).toMatchObject({ position, tag: `tag-${position}`, rows: 5 });
  expect(readCacheState(stamped?.path ?? "").state.point).toEqual({ position, tag: `tag-${position}` });
  expect(stamped?.manifest.sha256).not.toBe(first?.sha256);
  // A single new row is in the next one, though `minLag` alone would not have asked for it.
  const next = fixture.apply(1, upserts(1, "stream", 50));
  clock.offsetMs = 4 * HOUR_MS;
  await eventually(async () => expect((await manager.newest("quiet"))?.manifest.position).toBe(next));
  const reader = openReader((await manager.newest("quiet"))?.path ?? "");
  expect(reader.prepare("SELECT count(*) FROM quiet").pluck().get()).toBe(6);
  reader.close();
});

test("a schedule makes one of each entity, changed or not", async () => {
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
  const clock = movedClock();
  const nextHour = Math.ceil((Date.now() + 1) / HOUR_MS) * HOUR_MS;
  const manager = fixture.manager({ clock, checkIntervalMs: 20, minLag: 1_000, schedule: "0 * * * *" });
  await manager.start();
  await eventually(async () => expect(await manager.list("users")).toHaveLength(1));
  clock.offsetMs = nextHour - Date.now();
  await eventually(async () => expect(await manager.list("users")).toHaveLength(2));
});

test("a file that is found damaged while it is read is set aside, and the one before it is given out", async () => {
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
  const manager = fixture.manager();
  await manager.start();
  const older = await manager.create("users", NEVER);
  fixture.apply(1, upserts(1, "stream", 9));
  await manager.create("users", NEVER);
  const found = await manager.find("users", NEWEST, "zstd", NEVER);
  if (found?.kind !== "file") throw new Error("it lies here");
  expect(found.file.forms.map(({ coding }) => coding)).toEqual(["identity", "zstd", "gzip"]);
  await manager.damaged(found.file, found.file.forms[1]?.path ?? "");
  expect((await manager.newest("users"))?.manifest.id).toBe(older.id);
});
