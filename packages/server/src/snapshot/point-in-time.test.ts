import { openReader, readCacheState } from "@emcache/cache-file";
import type { EmcacheError } from "@emcache/protocol";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PointInTime } from "./point-in-time.ts";
import type { SnapshotManager } from "./snapshot-manager.ts";
import type { ShelvedFile } from "./snapshot-shelf.ts";
import { SnapshotFixture, upserts } from "./testing/snapshot-fixture.ts";

const NEVER = new AbortController().signal;
let fixture: SnapshotFixture;

beforeEach(() => {
  fixture = new SnapshotFixture();
});

afterEach(async () => {
  await fixture.close();
});

/** Ids in a file, in order. */
function idsIn(path: string): string[] {
  const reader = openReader(path);
  try {
    return reader
      .prepare<[], { id: string }>("SELECT id FROM users ORDER BY id")
      .all()
      .map(({ id }) => id);
  } finally {
    reader.close();
  }
}

async function errorOf(promise: Promise<unknown>): Promise<EmcacheError> {
  return promise.then(
    () => {
      throw new Error("it was expected to fail");
    },
    (error: EmcacheError) => error,
  );
}

/** The file of a point in time, which is made on this machine. */
async function restored(manager: SnapshotManager, point: PointInTime): Promise<ShelvedFile> {
  const found = await manager.restore("users", point, NEVER);
  if (found.kind !== "file") throw new Error("it lies elsewhere");
  return found.file;
}

function pathIn({ forms }: { readonly forms: readonly { readonly path: string }[] }): string {
  return forms[0]?.path ?? "";
}

test("each position is what the log says there, across a re-copy, and after the last snapshot", async () => {
  fixture.add(1, "users", "live");
  fixture.copy(1, 3);
  const manager = fixture.manager({ keepCount: 10 });
  await manager.start();
  const { position: base } = await manager.create("users", NEVER);
  const changed = fixture.apply(1, [
    ...upserts(1, "stream", 7),
    { operation: "delete", docId: "d0", idType: 2, origin: "stream" },
  ]);
  const copying = fixture.apply(1, [{ operation: "sync_start", docId: "" }, ...upserts(2, "copy", 1)]);
  const during = fixture.apply(1, upserts(1, "stream", 9));
  const copied = fixture.apply(1, [{ operation: "sync_end", docId: "" }]);
  const expected = new Map([
    [base, ["d0", "d1", "d2"]],
    [base + 1, ["d0", "d1", "d2", "d7"]],
    [changed, ["d1", "d2", "d7"]],
    [copying, ["d1", "d2", "d7"]],
    [during, ["d1", "d2", "d7", "d9"]],
    [copied, ["d1", "d2", "d9"]],
  ]);
  for (const [position, ids] of expected) {
    const file = await restored(manager, { position });
    expect(file.manifest).toMatchObject({
      position,
      tag: `tag-${position}`,
      rows: ids.length,
      cluster_time_s: position,
    });
    expect(idsIn(pathIn(file))).toEqual(ids);
    // Whoever starts from it goes on in the log, in the middle of a copy too.
    expect(readCacheState(pathIn(file)).state.point).toEqual({ position, tag: `tag-${position}` });
  }
  // Repeated at once it is the same file; the log is not asked again.
  const again = await restored(manager, { position: during });
  expect(again).toBe(await restored(manager, { position: during }));
});

test("a time is the state after the last batch that is not later; the second must be captured", async () => {
  fixture.add(1, "users", "live");
  const start = fixture.copy(1, 2);
  const manager = fixture.manager();
  await manager.start();
  await manager.create("users", NEVER);
  fixture.apply(1, upserts(5, "stream", 10));
  // The fixture's batches are one position and one second each.
  const file = await restored(manager, { timeS: start + 2 });
  expect(file.manifest.position).toBe(start + 2);
  expect(idsIn(pathIn(file))).toEqual(["d0", "d1", "d10", "d11"]);
  const later = await errorOf(restored(manager, { timeS: start + 100 }));
  expect(later).toMatchObject({
    code: "point_unreachable",
    message: expect.stringContaining("captured up to"),
    details: { through_time: new Date((start + 5) * 1000).toISOString() },
  });
});

test("a source transaction that is not complete at the position is left out", async () => {
  fixture.add(1, "users", "live");
  const start = fixture.copy(1, 1);
  const manager = fixture.manager();
  await manager.start();
  await manager.create("users", NEVER);
  const [plain, one, two, three] = upserts(4, "stream", 10);
  fixture.apply(1, [
    { ...plain },
    { ...one, transaction: "t1" },
    { ...two, transaction: "t1" },
    { ...three, transaction: "t1", transactionEnd: true },
  ]);
  const before = await restored(manager, { position: start + 3 });
  expect(before.manifest).toMatchObject({ position: start + 1, tag: `tag-${start + 1}` });
  expect(idsIn(pathIn(before))).toEqual(["d0", "d10"]);
  const after = await restored(manager, { position: start + 4 });
  expect(idsIn(pathIn(after))).toEqual(["d0", "d10", "d11", "d12", "d13"]);
});

test("without a snapshot before it, from a complete copy in the log; beyond that the possible range is told", async () => {
  fixture.add(1, "users", "live");
  fixture.apply(1, upserts(2, "stream"));
  const end = fixture.copy(1, 2);
  fixture.apply(1, upserts(1, "stream", 5));
  const manager = fixture.manager();
  await manager.start();
  // The manager makes one by itself, of the cache as it is now.
  const file = await restored(manager, { position: end });
  expect(idsIn(pathIn(file))).toEqual(["d0", "d1"]);
  expect(await errorOf(restored(manager, { position: end - 1 }))).toMatchObject({
    code: "point_unreachable",
    details: { through_position: end + 1 },
  });
  expect(await errorOf(restored(manager, { position: 1_000 }))).toMatchObject({
    code: "point_unreachable",
    message: expect.stringContaining("last position is"),
  });
  const snapshot = await manager.create("users", NEVER);
  fixture.apply(1, upserts(5, "stream", 20));
  fixture.floor = snapshot.position + 3;
  // The log no longer leads on from the snapshot: only its own position is left, and what comes after a new one.
  expect((await restored(manager, { position: snapshot.position })).manifest.id).toBe(snapshot.id);
  expect(await errorOf(restored(manager, { position: snapshot.position + 4 }))).toMatchObject({
    code: "point_unreachable",
    details: { snapshots: expect.arrayContaining([{ id: snapshot.id, position: snapshot.position }]) },
  });
});

test("files made for requests are bounded in disk, and nothing is left of what failed", async () => {
  fixture.add(1, "users", "live");
  const start = fixture.copy(1, 2);
  const manager = fixture.manager({ restoreBytesMax: 100_000 });
  await manager.start();
  await manager.create("users", NEVER);
  fixture.apply(1, upserts(5, "stream", 10));
  expect(await errorOf(restored(manager, { position: start + 1 }))).toMatchObject({
    code: "restore_refused",
  });
  const roomy = fixture.manager({ restoreBytesMax: 200_000 });
  await roomy.start();
  for (const offset of [1, 2, 3, 4]) await restored(roomy, { position: start + offset });
  const files = readdirSync(join(fixture.baseDir, "snapshots", ".requests"));
  expect(files.every((name) => name.endsWith(".db"))).toBe(true);
  expect(files.length).toBeLessThan(4);
});
