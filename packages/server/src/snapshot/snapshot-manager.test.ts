import { openReader, readCacheState } from "@emcache/cache-file";
import type { EmcacheError } from "@emcache/protocol";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SnapshotFixture, upserts } from "./testing/snapshot-fixture.ts";

const NEVER = new AbortController().signal;
let fixture: SnapshotFixture;

beforeEach(() => {
  fixture = new SnapshotFixture();
});

afterEach(async () => {
  await fixture.close();
});

/** The files of an entity's snapshots, manifests included. */
function files(entity: string): string[] {
  const folder = join(fixture.baseDir, "snapshots", entity);
  return existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name !== "legacy")
        .sort()
    : [];
}

/** What lies there of one snapshot. */
function filesOf(id: string): string[] {
  return [".db", ".db.gz", ".db.zst", ".json"].map((suffix) => id + suffix);
}

function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Until `check` throws no more. The machine may be busy with all the other tests. */
function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: EmcacheError) => error.code,
  );
}

describe("create", () => {
  test("makes a verified file at the cache's position and registers it", async () => {
    fixture.add(1, "users", "live");
    const position = fixture.copy(1, 50);
    const manager = fixture.manager();
    await manager.start();
    const manifest = await manager.create("users", NEVER);
    expect(manifest).toMatchObject({
      entity: "users",
      version: 1,
      position,
      tag: `tag-${position}`,
      rows: 50,
      cluster_time_s: position,
    });
    const newest = await manager.newest("users");
    expect(newest?.manifest).toEqual(manifest);
    const bytes = readFileSync(newest?.path ?? "");
    expect(bytes.length).toBe(manifest.size_bytes);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(manifest.sha256);
    const reader = openReader(newest?.path ?? "");
    expect(reader.prepare("SELECT count(*) AS n FROM users").get()).toEqual({ n: 50 });
    reader.close();
    const place = { holder: "here", path: newest?.path, url: "", objectKey: null };
    expect(fixture.store.records.get(manifest.id)).toMatchObject({ manifest, ...place });
    const compressed = readFileSync(`${newest?.path}.zst`);
    expect(manifest.compressions).toEqual([
      { coding: "zstd", size_bytes: compressed.length, sha256: sha256Of(compressed) },
      expect.objectContaining({ coding: "gzip", sha256: sha256Of(readFileSync(`${newest?.path}.gz`)) }),
    ]);
    expect(zstdDecompressSync(compressed)).toEqual(bytes);
    expect(gunzipSync(readFileSync(`${newest?.path}.gz`))).toEqual(bytes);
  });

  test("refuses what is not there or not whole", async () => {
    fixture.add(1, "users", "pending");
    fixture.apply(1, [{ operation: "sync_start" }, ...upserts(5, "copy")]);
    const manager = fixture.manager();
    await manager.start();
    expect(await codeOf(manager.create("nobody", NEVER))).toBe("entity_not_found");
    expect(await codeOf(manager.create("users", NEVER))).toBe("snapshot_not_ready");
    // Live elsewhere, while this process's cache is still being filled.
    fixture.records = fixture.records.map((record) => ({ ...record, state: "live" }));
    expect(await codeOf(manager.create("users", NEVER))).toBe("snapshot_not_ready");
    expect(await manager.list()).toEqual([]);
    expect(files("users")).toEqual([]);
  });

  test("concurrent calls share one build, and a waiter that gives up doesn't end it", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const manager = fixture.manager();
    await manager.start();
    const gone = new AbortController();
    const calls = [
      manager.create("users", NEVER),
      manager.create("users", gone.signal),
      manager.create("users", NEVER),
    ];
    gone.abort();
    const [first, second, third] = await Promise.allSettled(calls);
    expect(first).toEqual(third);
    expect(first?.status).toBe("fulfilled");
    expect(second?.status).toBe("rejected");
    expect(await manager.list()).toHaveLength(1);
  });

  test("keeps keepCount of an entity, the newest ones", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const manager = fixture.manager({ keepCount: 2 });
    await manager.start();
    const ids: string[] = [];
    for (let round = 0; round < 4; round++) {
      fixture.apply(1, upserts(1, "stream", 100 + round));
      ids.push((await manager.create("users", NEVER)).id);
    }
    await eventually(async () => expect((await manager.list()).map(({ id }) => id)).toEqual(ids.slice(2).toReversed()));
    await eventually(() => expect([...fixture.store.records.keys()].sort()).toEqual(ids.slice(2).sort()));
    expect(files("users")).toHaveLength(8);
  });
});

describe("while PostgreSQL is away", () => {
  test("snapshots are made, listed and served, and registered when it is back", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    fixture.store.isAway = true;
    const manager = fixture.manager({ checkIntervalMs: 20 });
    await manager.start();
    const manifest = await manager.create("users", NEVER);
    expect(await manager.list("users")).toEqual([manifest]);
    expect((await manager.newest("users"))?.manifest).toEqual(manifest);
    fixture.store.isAway = false;
    await eventually(() => expect(fixture.store.records.has(manifest.id)).toBe(true));
  });

  test("a registry that knows nothing yet deletes nothing", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const first = fixture.manager();
    await first.start();
    await first.create("users", NEVER);
    await first.stop(AbortSignal.abort());
    const known = fixture.records;
    const loaded = Promise.withResolvers<void>();
    fixture.registryLoaded = loaded.promise;
    fixture.records = [];
    const second = fixture.manager({ checkIntervalMs: 10 });
    await second.start();
    await eventually(() => expect(fixture.store.records.size).toBe(1));
    expect(files("users")).toHaveLength(4);
    fixture.records = known;
    loaded.resolve();
    expect(await second.newest("users")).not.toBeNull();
    await second.stop(AbortSignal.abort());
    // Read, and really empty: now it is known that the entity was deleted while this process was down.
    fixture.records = [];
    const third = fixture.manager();
    await third.start();
    await eventually(() => expect(files("users")).toEqual([]));
  });
});

test("invariant 9: a snapshot that is listed is restorable, with its position, its tag and its cluster time", async () => {
  fixture.add(1, "users", "live");
  const manager = fixture.manager({ keepCount: 10 });
  await manager.start();
  fixture.copy(1, 200);
  const writing = new AbortController();
  const writer = (async () => {
    for (let round = 0; !writing.signal.aborted && round < 10_000; round++) {
      fixture.apply(1, upserts(5, "stream", 200 + round * 5));
      await new Promise((resolve) => {
        setTimeout(resolve, 2);
      });
    }
  })();
  for (let count = 0; count < 3; count++) await manager.create("users", NEVER);
  writing.abort();
  await writer;
  const listed = await manager.list("users");
  expect(new Set(listed.map(({ position }) => position)).size).toBe(3);
  for (const manifest of listed) {
    const bytes = readFileSync(join(fixture.baseDir, "snapshots", "users", `${manifest.id}.db`));
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(manifest.sha256);
    const restored = join(fixture.baseDir, `restored-${manifest.id}.db`);
    writeFileSync(restored, bytes);
    const reader = openReader(restored);
    expect(reader.pragma("integrity_check", { simple: true })).toBe("ok");
    // What the log says up to a position is known here: 200 rows between two brackets, then one new row a position.
    expect(reader.prepare("SELECT count(*) AS n FROM users").get()).toEqual({ n: manifest.position - 2 });
    reader.close();
    const { state, logId } = readCacheState(restored);
    expect(state.point).toEqual({ position: manifest.position, tag: manifest.tag });
    expect(manifest).toMatchObject({ log_id: logId, rows: manifest.position - 2, cluster_time_s: manifest.position });
  }
});

describe("after a start", () => {
  test("leftovers of a crash are removed and never listed", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const first = fixture.manager();
    await first.start();
    const { id } = await first.create("users", NEVER);
    await first.stop(AbortSignal.abort());
    const folder = join(fixture.baseDir, "snapshots", "users");
    for (const name of ["a.db.building", "b.db", "b.db.zst", "c.json", "d.json.building"])
      writeFileSync(join(folder, name), "{}");
    const second = fixture.manager();
    await second.start();
    expect((await second.list()).map((manifest) => manifest.id)).toEqual([id]);
    expect(files("users")).toEqual(filesOf(id));
  });

  test("a file is compared with its SHA-256 before it is served; a changed one is set aside", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const first = fixture.manager();
    await first.start();
    const older = await first.create("users", NEVER);
    fixture.apply(1, upserts(1, "stream", 500));
    const newer = await first.create("users", NEVER);
    const path = (await first.newest("users"))?.path ?? "";
    await first.stop(AbortSignal.abort());
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const second = fixture.manager();
    await second.start();
    expect((await second.newest("users"))?.manifest.id).toBe(older.id);
    expect((await second.list()).map(({ id }) => id)).toEqual([older.id]);
    expect(files("users")).toContain(`${newer.id}.db.damaged`);
  });
});

describe("by itself", () => {
  test("makes one where there is none, and again after minLag entries of the entity, not of others", async () => {
    fixture.add(1, "users", "live");
    fixture.add(2, "orders", "live");
    fixture.copy(1, 10);
    fixture.copy(2, 10);
    const manager = fixture.manager({ checkIntervalMs: 10, minLag: 20 });
    await manager.start();
    await eventually(async () =>
      expect((await manager.list("users")).length + (await manager.list("orders")).length).toBe(2),
    );
    fixture.apply(2, upserts(30, "stream"));
    await eventually(async () => expect(await manager.list("orders")).toHaveLength(2));
    expect(await manager.list("users")).toHaveLength(1);
    fixture.apply(1, upserts(19, "stream"));
    fixture.apply(2, upserts(30, "stream"));
    await eventually(async () => expect((await manager.list("orders"))[0]?.position).toBe(fixture.log.length));
    expect(await manager.list("users")).toHaveLength(1);
    fixture.apply(1, upserts(1, "stream"));
    await eventually(async () => expect(await manager.list("users")).toHaveLength(2));
  });

  test("those of a deleted entity are removed, those of a replaced version once its successor has one", async () => {
    fixture.add(1, "users", "live");
    fixture.add(2, "orders", "live");
    fixture.copy(1, 10);
    fixture.copy(2, 10);
    const manager = fixture.manager();
    await manager.start();
    await manager.create("users", NEVER);
    const old = await manager.create("orders", NEVER);
    fixture.add(3, "orders", "pending");
    fixture.copy(3, 5);
    fixture.records = fixture.records
      .filter(({ entity }) => entity.id === 3)
      .map((record) => ({ ...record, state: "live" as const }));
    fixture.changed();
    await eventually(() => expect(existsSync(join(fixture.baseDir, "snapshots", "users"))).toBe(false));
    expect(files("orders")).toContain(`${old.id}.db`);
    expect(await manager.newest("orders")).toBeNull();
    const next = await manager.create("orders", NEVER);
    await eventually(() => expect(files("orders")).toEqual(filesOf(next.id)));
    expect([...fixture.store.records.keys()]).toEqual([next.id]);
  });
});

describe("legacyFile", () => {
  test("has no view, and says the position before a sync_start whose switch is younger than 10 minutes", async () => {
    fixture.add(1, "users", "live");
    fixture.apply(1, upserts(3, "stream"));
    fixture.copy(1, 10);
    const manager = fixture.manager();
    await manager.start();
    const path = await manager.legacyFile("users", "identity", NEVER);
    const reader = openReader(path);
    expect(reader.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'view'").get()).toEqual({ n: 0 });
    expect(reader.prepare("SELECT count(*) AS n FROM data").get()).toEqual({ n: 10 });
    reader.close();
    expect(readCacheState(path).state.point.position).toBe(3);
    const zstd = await manager.legacyFile("users", "zstd", NEVER);
    const gzip = await manager.legacyFile("users", "gzip", NEVER);
    expect(zstdDecompressSync(readFileSync(zstd))).toEqual(readFileSync(path));
    expect(gunzipSync(readFileSync(gzip))).toEqual(readFileSync(path));
    expect(await manager.legacyFile("users", "zstd", NEVER)).toBe(zstd);
  });

  test("is stamped with its own position once the switch is older", async () => {
    fixture.add(1, "users", "live");
    const position = fixture.copy(1, 10);
    let offsetMs = 0;
    const clock = {
      nowMs: () => Date.now() + offsetMs,
      monotonicMs: () => performance.now(),
      sleep: (ms: number, signal: AbortSignal) =>
        new Promise<void>((resolve) => {
          setTimeout(resolve, Math.min(ms, 1000));
          signal.addEventListener("abort", () => resolve());
        }),
    };
    const manager = fixture.manager({ clock });
    await manager.start();
    expect(readCacheState(await manager.legacyFile("users", "identity", NEVER)).state.point.position).toBe(0);
    offsetMs = 11 * 60 * 1000;
    expect(readCacheState(await manager.legacyFile("users", "identity", NEVER)).state.point.position).toBe(position);
  });

  test("of an entity whose first copy is running is the cache as it is, in mode sync", async () => {
    fixture.add(1, "users", "pending");
    const position = fixture.apply(1, [{ operation: "sync_start" }, ...upserts(5, "copy")]);
    const manager = fixture.manager();
    await manager.start();
    const path = await manager.legacyFile("users", "identity", NEVER);
    const reader = openReader(path);
    expect(reader.prepare("SELECT value FROM metadata WHERE key = 'mode'").get()).toEqual({ value: "sync" });
    expect(reader.prepare("SELECT count(*) AS n FROM data_sync").get()).toEqual({ n: 5 });
    expect(reader.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'view'").get()).toEqual({ n: 0 });
    reader.close();
    expect(readCacheState(path).state.point.position).toBe(position);
    expect(await manager.list()).toEqual([]);
    fixture.records = [];
    fixture.changed();
    await eventually(() => expect(existsSync(join(fixture.baseDir, "snapshots", "users"))).toBe(false));
  });

  test("waits for the cache of an entity created a moment ago, and gives up with its signal", async () => {
    fixture.records = [{ entity: fixture.entity(1, "users"), state: "pending" }];
    const manager = fixture.manager();
    await manager.start();
    expect(await codeOf(manager.legacyFile("users", "identity", AbortSignal.timeout(150)))).toBe("snapshot_not_ready");
    const waiting = manager.legacyFile("users", "zstd", AbortSignal.timeout(10_000));
    fixture.records = [];
    fixture.add(1, "users", "pending");
    expect(existsSync(await waiting)).toBe(true);
  });

  test("is never older than the floor", async () => {
    fixture.add(1, "users", "live");
    fixture.copy(1, 10);
    const manager = fixture.manager();
    await manager.start();
    await manager.create("users", NEVER);
    const position = fixture.apply(1, upserts(20, "stream", 100));
    fixture.floor = position - 2;
    const path = await manager.legacyFile("users", "identity", NEVER);
    expect(readCacheState(path).state.point.position).toBe(position);
  });
});
