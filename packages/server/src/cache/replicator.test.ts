import { copyFileSync, existsSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { CacheFile, openReader, readCacheState } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ComponentHealth } from "../runtime/component-health.ts";
import type { VersionReject } from "./replicate-port.ts";
import { Replicator, type ReplicatorOptions } from "./replicator.ts";
import { copied, remove, syncEnd, syncStart, TestLog, upsert } from "./testing/test-log.ts";

const log = new TestLog();
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => log.start());
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});
afterAll(async () => log.stop());

interface Running {
  readonly replicator: Replicator;
  readonly health: ComponentHealth;
  readonly baseDir: string;
  readonly needs: number[];
  readonly rejects: VersionReject[];
  stop(): Promise<void>;
}

async function start(baseDir = log.cacheDir(), options: Partial<ReplicatorOptions> = {}): Promise<Running> {
  const needs: number[] = [];
  const rejects: VersionReject[] = [];
  const health = new ComponentHealth("replicate");
  const replicator = new Replicator({
    connection: log.postgres.connection,
    baseDir,
    // Far away, so that what is seen sooner came by a wake-up.
    replicationIntervalS: 60,
    onNeedsCopy: (version) => needs.push(version),
    onRejects: (more) => rejects.push(...more),
    logger: log.logger,
    health,
    ...options,
  });
  const off = log.onCommit((head) => replicator.wake(head));
  await replicator.start();
  replicator.setEntities(await log.records());
  let stopping: Promise<void> | null = null;
  const stop = async (): Promise<void> => {
    off();
    stopping ??= replicator.stop(AbortSignal.timeout(10_000));
    await stopping;
  };
  stops.push(stop);
  return { replicator, health, baseDir, needs, rejects, stop };
}

const soon = (): AbortSignal => AbortSignal.timeout(15_000);

async function until<T>(probe: () => T, isDone: (value: T) => boolean): Promise<T> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const value = probe();
    if (isDone(value)) return value;
    if (Date.now() > deadline) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function rows(path: string, table = "data"): Record<string, number> {
  const reader = openReader(path);
  try {
    return Object.fromEntries(reader.prepare<[], [string, number]>(`SELECT * FROM ${table} ORDER BY id`).raw().all());
  } finally {
    reader.close();
  }
}

const pathOf = ({ replicator }: Running, entity: Entity): string => replicator.pathOf(entity.id) ?? "no path";

describe("following the log", () => {
  it("fills caches from their copies and follows the stream, woken by commits", async () => {
    const [a, b] = [await log.entity("follow_a"), await log.entity("follow_b")];
    const running = await start();
    await log.copy(a, { x: 1, y: 2 });
    await log.copy(b, { x: 10 });
    const head = await log.append(upsert(a.id, "z", 3), remove(a.id, "x"), upsert(b.id, "x", 11));
    await running.replicator.waitFor(head, soon());
    expect(rows(pathOf(running, a))).toEqual({ y: 2, z: 3 });
    expect(rows(join(running.baseDir, "follow_b.db"), "follow_b")).toEqual({ x: 11 });
    const status = await until(
      () => running.replicator.statuses().get(a.id),
      (found) => found?.rows === 2,
    );
    expect(status).toMatchObject({
      mode: "live",
      dataState: "whole",
      rows: 2,
      position: head,
      lagEntries: 0,
      lastError: null,
    });
    expect(running.health.state().status).toBe("healthy");
  });

  it("writes the position of caches that a page held nothing for, at the latest when it stops", async () => {
    const [a, b] = [await log.entity("lazy_a"), await log.entity("lazy_b")];
    const running = await start();
    await log.copy(a, { x: 1 });
    await log.copy(b, { x: 1 });
    const head = await log.append(upsert(a.id, "x", 2));
    await running.replicator.waitFor(head, soon());
    await running.stop();
    // Closed in order: no file but the databases is left.
    expect(readdirSync(running.baseDir).filter((name) => !/\.db(-sums)?$/.test(name))).toEqual([]);
    expect(readCacheState(pathOf(running, b)).state.point.position).toBe(head);
  });

  it("goes on after a restart from where each cache was", async () => {
    const entity = await log.entity("restart");
    const first = await start();
    await first.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    await first.stop();
    const head = await log.append(upsert(entity.id, "y", 2));
    const second = await start(first.baseDir);
    await second.replicator.waitFor(head, soon(), entity.id);
    expect(rows(pathOf(second, entity))).toEqual({ x: 1, y: 2 });
    expect(second.needs).not.toContain(entity.id);
  });

  it("builds a new cache from the copy that the log holds, over many pages", async () => {
    const entity = await log.entity("large");
    await log.append(syncStart(entity.id));
    for (let batch = 0; batch < 6; batch += 1) {
      await log.append(
        ...Array.from({ length: 2000 }, (_, index) => copied(entity.id, `${batch * 2000 + index}`, index)),
      );
    }
    const head = await log.append(syncEnd(entity.id), upsert(entity.id, "5", -1));
    const running = await start();
    await running.replicator.waitFor(head, soon());
    const found = rows(pathOf(running, entity));
    expect([Object.keys(found).length, found["5"], found["11999"]]).toEqual([12_000, -1, 1999]);
  });

  it("shows a source transaction whole, and what came before it at once", async () => {
    const entity = await log.entity("transaction");
    const running = await start();
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const before = await log.append(upsert(entity.id, "before", 1));
    await log.append(upsert(entity.id, "first", 1, { transaction: "t" }));
    await running.replicator.waitFor(before, soon(), entity.id);
    const path = pathOf(running, entity);
    expect(rows(path)).toEqual({ x: 1, before: 1 });
    expect(readCacheState(path).state.point.position).toBe(before);
    const end = await log.append(upsert(entity.id, "last", 1, { transaction: "t", transactionEnd: true }));
    await running.replicator.waitFor(end, soon(), entity.id);
    expect(rows(path)).toEqual({ x: 1, before: 1, first: 1, last: 1 });
  });

  it("tells of rejects", async () => {
    const entity = await log.entity("reject");
    const running = await start();
    await log.copy(entity, { x: 1 });
    const head = await log.append(upsert(entity.id, "x", 2, { idType: 7 }));
    await running.replicator.waitFor(head, soon(), entity.id);
    expect(
      await until(
        () => running.rejects,
        (found) => found.length > 0,
      ),
    ).toMatchObject([{ version: entity.id, docId: "x", idType: 7, idTypeKept: 2 }]);
  });
});

describe("versions of an entity", () => {
  it("6. old data until new data is whole: the link moves when the new version is complete and live", async () => {
    const before = await log.entity("shape", "v");
    const running = await start();
    await running.replicator.waitFor(await log.copy(before, { x: 1 }), soon(), before.id);
    const link = join(running.baseDir, "shape.db");
    expect(readlinkSync(link)).toBe(`shape.v${before.id}.db`);
    const after = await log.entity("shape", "w");
    running.replicator.setEntities(await log.records());
    await log.append(syncStart(after.id), copied(after.id, "y", 2));
    const head = await log.append(upsert(before.id, "x", 5));
    await running.replicator.waitFor(head, soon(), after.id);
    expect([readlinkSync(link), rows(link, "shape")]).toEqual([`shape.v${before.id}.db`, { x: 5 }]);
    await running.replicator.waitFor(await log.append(syncEnd(after.id)), soon(), after.id);
    running.replicator.setEntities(await log.records());
    await until(
      () => readlinkSync(link),
      (target) => target !== `shape.v${before.id}.db`,
    );
    expect([readlinkSync(link), rows(link, "shape")]).toEqual([`shape.v${after.id}.db`, { y: 2 }]);
    await until(
      () => existsSync(pathOf(running, before)),
      (exists) => !exists,
    );
    expect(readdirSync(running.baseDir).filter((name) => name.includes(`v${before.id}.`))).toEqual([]);
  });

  it("keeps the replaced version over a restart until the new one has data", async () => {
    const before = await log.entity("upgrade", "v");
    const first = await start();
    await first.replicator.waitFor(await log.copy(before, { x: 1 }), soon(), before.id);
    await first.stop();
    const after = await log.entity("upgrade", "w");
    // The new version is live, but what this process has of the log is only the begin of its next copy.
    await log.dropBelow(await log.copy(after, { y: 2 }));
    await log.append(syncStart(after.id));
    const second = await start(first.baseDir);
    const link = join(first.baseDir, "upgrade.db");
    await second.replicator.waitFor(log.head, soon(), after.id);
    expect(rows(link, "upgrade")).toEqual({ x: 1 });
    await second.replicator.waitFor(await log.append(copied(after.id, "z", 3), syncEnd(after.id)), soon(), after.id);
    await until(
      () => readlinkSync(link),
      (target) => target.includes(`v${after.id}.`),
    );
    expect(rows(link, "upgrade")).toEqual({ z: 3 });
    await until(
      () => existsSync(join(first.baseDir, `upgrade.v${before.id}.db`)),
      (exists) => !exists,
    );
    expect(existsSync(join(first.baseDir, `upgrade.v${before.id}.db`))).toBe(false);
  });

  it("removes files and link of a deleted entity at once, also of one deleted while it was down", async () => {
    const [now, later] = [await log.entity("gone_now"), await log.entity("gone_later")];
    const running = await start();
    await running.replicator.waitFor(await log.copy(now, { x: 1 }), soon());
    await running.replicator.waitFor(await log.copy(later, { x: 1 }), soon());
    const gone = (name: string) => () => readdirSync(running.baseDir).filter((file) => file.startsWith(name));
    await log.delete("gone_now");
    running.replicator.setEntities(await log.records());
    expect(await until(gone("gone_now"), (files) => files.length === 0)).toEqual([]);
    expect(gone("gone_later")()).toContain("gone_later.db");
    await running.stop();
    await log.delete("gone_later");
    await start(running.baseDir);
    expect(await until(gone("gone_later"), (files) => files.length === 0)).toEqual([]);
  });
});

describe("what can go wrong", () => {
  it("sets a damaged file aside and builds another", async () => {
    const entity = await log.entity("damaged");
    const first = await start();
    await first.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const path = pathOf(first, entity);
    await first.stop();
    writeFileSync(path, "no database".repeat(1000));
    const second = await start(first.baseDir);
    await second.replicator.waitFor(log.head, soon(), entity.id);
    expect(rows(path)).toEqual({ x: 1 });
    expect(
      readdirSync(first.baseDir).filter((name) => /\.v\d+\.db\.damaged-\d{8}T\d{6}Z-sqlite-notadb$/.test(name)),
    ).toHaveLength(1);
  });

  it("builds a file again that was removed while it runs", async () => {
    const entity = await log.entity("removed");
    const running = await start();
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const path = pathOf(running, entity);
    rmSync(path);
    await until(() => existsSync(path), Boolean);
    await running.replicator.waitFor(await log.append(upsert(entity.id, "y", 2)), soon(), entity.id);
    await until(
      () => rows(path),
      (found) => found["y"] === 2,
    );
    expect(rows(path)).toEqual({ x: 1, y: 2 });
  });

  it("11. one history: serves the old data and rebuilds where the log's tag is not the cache's", async () => {
    const entity = await log.entity("history");
    const first = await start();
    await first.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const path = pathOf(first, entity);
    await first.stop();
    const { logId, state } = readCacheState(path);
    const file = CacheFile.open(path, { entity, logId });
    const phantom = { ...upsert(entity.id, "phantom", 9), position: state.point.position + 1 };
    file.apply([phantom], { position: state.point.position + 1, tag: "of a lost history" });
    file.close();
    const head = await log.append(upsert(entity.id, "y", 2));
    const second = await start(first.baseDir);
    await second.replicator.waitFor(head, soon(), entity.id);
    expect(rows(path)).toEqual({ x: 1, y: 2 });
    expect(second.needs).not.toContain(entity.id);
  });

  it("11. one history: a cache that is ahead of a restored log is rebuilt", async () => {
    const entity = await log.entity("ahead");
    const first = await start();
    await first.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const path = pathOf(first, entity);
    await first.stop();
    const file = CacheFile.open(path, { entity, logId: readCacheState(path).logId });
    file.apply([], { position: log.head + 1000, tag: "lost" });
    file.close();
    const second = await start(first.baseDir);
    await until(
      () => second.replicator.statuses().get(entity.id),
      (status) => status?.dataState === "whole" && status.position === log.head,
    );
    expect(second.replicator.statuses().get(entity.id)).toMatchObject({ position: log.head, mode: "live" });
    expect(rows(path)).toEqual({ x: 1 });
  });

  it("replaces a file of another log", async () => {
    const entity = await log.entity("foreign");
    await log.copy(entity, { x: 1 });
    const baseDir = log.cacheDir();
    const path = join(baseDir, `foreign.v${entity.id}.db`);
    CacheFile.open(path, { entity, logId: "another log" }).close();
    const running = await start(baseDir);
    await running.replicator.waitFor(log.head, soon(), entity.id);
    expect(rows(path)).toEqual({ x: 1 });
  });

  it("11. one history: leads nobody to caches of a log that was replaced, and keeps their files", async () => {
    const entity = await log.entity("mixed_up");
    const running = await start();
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const link = join(running.baseDir, "mixed_up.db");
    expect(existsSync(link)).toBe(true);
    const { pool } = log.postgres;
    const before = await pool.query<{ log_id: string }>("SELECT log_id FROM emcache.head");
    await pool.query("UPDATE emcache.head SET log_id = gen_random_uuid()");
    // As an empty log's registry is.
    running.replicator.setEntities([]);
    await until(
      () => existsSync(link),
      (exists) => !exists,
    );
    // In its place, or aside where the loop met the other log before the registry did.
    expect(
      readdirSync(running.baseDir).some((name) => /^mixed_up\.v\d+\.db(\.damaged-\w+-other-log)?$/.test(name)),
    ).toBe(true);
    await pool.query("UPDATE emcache.head SET log_id = $1", [before.rows[0]?.log_id]);
    running.replicator.setEntities(await log.records());
    await until(
      () => existsSync(link),
      (exists) => exists,
    );
    expect(rows(link, "mixed_up")).toEqual({ x: 1 });
  });

  it("goes on from a file that is put in its place, where the log can't fill it", async () => {
    const entity = await log.entity("restored");
    const first = await start();
    const whole = await log.copy(entity, { x: 1 });
    await first.replicator.waitFor(whole, soon(), entity.id);
    const path = pathOf(first, entity);
    await first.stop();
    copyFileSync(path, join(first.baseDir, "snapshot"));
    await log.dropBelow(await log.append(upsert(entity.id, "kept", 3)));
    rmSync(path);
    const second = await start(first.baseDir);
    await until(() => second.needs.includes(entity.id), Boolean);
    const link = join(first.baseDir, "restored.db");
    expect(existsSync(link)).toBe(false);
    copyFileSync(join(first.baseDir, "snapshot"), second.replicator.restoringPathOf(entity.id) ?? "");
    second.replicator.restored(entity.id);
    await second.replicator.waitFor(await log.append(upsert(entity.id, "y", 2)), soon(), entity.id);
    // The link shows the restored file at once; what came after it follows.
    await until(
      () => (existsSync(link) ? rows(link, "restored") : {}),
      (shown) => Object.keys(shown).length === 3,
    );
    expect(rows(link, "restored")).toEqual({ x: 1, kept: 3, y: 2 });
    expect(second.replicator.statuses().get(entity.id)).toMatchObject({ mode: "live", dataState: "whole" });
  });

  it("asks for a new copy where the log no longer holds the last one, and serves the old data meanwhile", async () => {
    const entity = await log.entity("outdated");
    const first = await start();
    await first.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const path = pathOf(first, entity);
    await first.stop();
    await log.append(upsert(entity.id, "missed", 2));
    await log.dropBelow(await log.append(upsert(entity.id, "kept", 3)));
    const second = await start(first.baseDir);
    await until(() => second.needs.includes(entity.id), Boolean);
    expect(second.needs).toContain(entity.id);
    await until(
      () => second.replicator.statuses().get(entity.id)?.dataState,
      (state) => state === "stale",
    );
    expect(second.replicator.statuses().get(entity.id)).toMatchObject({ mode: "sync", dataState: "stale" });
    expect(rows(path)).toMatchObject({ x: 1 });
    await second.replicator.waitFor(await log.copy(entity, { x: 1, missed: 2, kept: 3 }), soon(), entity.id);
    expect(second.replicator.statuses().get(entity.id)).toMatchObject({ mode: "live", dataState: "whole" });
    expect(rows(path)).toEqual({ x: 1, missed: 2, kept: 3 });
  });

  it("says which cache can't be written, lets the others go on, and goes on with it later", async () => {
    const [stuck, other] = [await log.entity("stuck"), await log.entity("unstuck")];
    const running = await start();
    await running.replicator.waitFor(await log.copy(stuck, { x: 1 }), soon());
    await running.replicator.waitFor(await log.copy(other, { x: 1 }), soon());
    const foreign = CacheFile.open(pathOf(running, stuck), {
      entity: stuck,
      logId: readCacheState(pathOf(running, stuck)).logId,
    });
    // A source transaction that stays open keeps the lock, as another program's would.
    foreign.apply([{ ...upsert(stuck.id, "q", 1, { transaction: "t" }), position: log.head + 1 }], {
      position: log.head + 1,
      tag: "never committed",
    });
    const head = await log.append(upsert(stuck.id, "y", 2), upsert(other.id, "y", 2));
    await running.replicator.waitFor(head, soon(), other.id);
    const status = await until(
      () => running.replicator.statuses().get(stuck.id),
      (found) => found?.lastError !== null,
    );
    expect(status?.lastError?.code).toBe("cache_unavailable");
    expect(running.health.state().status).toBe("degraded");
    foreign.close();
    await running.replicator.waitFor(head, soon(), stuck.id);
    expect(rows(pathOf(running, stuck))).toEqual({ x: 1, y: 2 });
    await until(
      () => running.health.state().status,
      (state) => state === "healthy",
    );
    expect(running.health.state().status).toBe("healthy");
  });

  it("stops a cache whose WAL a forgotten reader keeps from being emptied, says where, and goes on after it", async () => {
    const entity = await log.entity("forgotten");
    const running = await start(log.cacheDir(), { walBytesMax: 100_000 });
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    const status = () => running.replicator.statuses().get(entity.id);
    const reader = openReader(pathOf(running, entity));
    reader.exec("BEGIN");
    reader.prepare("SELECT count(*) FROM forgotten").get();
    for (let batch = 0; batch < 20 && status()?.lastError === null; batch += 1) {
      const many = Array.from({ length: 2000 }, (_, index) => upsert(entity.id, `${index}`, batch));
      await log.append(...many);
      await until(status, (found) => (found?.lagEntries === 0 && found.walBytes > 0) || found?.lastError !== null);
    }
    const blocked = await until(status, (found) => found?.lastError !== null);
    expect(blocked?.lastError).toMatchObject({
      code: "cache_unavailable",
      hint: expect.stringContaining("forgotten.v"),
    });
    reader.close();
    const head = await log.append(upsert(entity.id, "last", 1));
    await running.replicator.waitFor(head, soon(), entity.id);
    expect(await until(status, (found) => found?.lastError === null)).toMatchObject({
      lastError: null,
      position: head,
    });
  });

  it("starts its thread again when that dies", async () => {
    const entity = await log.entity("crash");
    const workers: Worker[] = [];
    const running = await start(log.cacheDir(), {
      createWorker: (data) => {
        const worker = new Worker(new URL("./replicate-worker.ts", import.meta.url), { workerData: data });
        workers.push(worker);
        return worker;
      },
    });
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    await workers[0]?.terminate();
    await until(
      () => workers.length,
      (count) => count === 2,
    );
    await running.replicator.waitFor(await log.append(upsert(entity.id, "y", 2)), soon(), entity.id);
    expect(rows(pathOf(running, entity))).toEqual({ x: 1, y: 2 });
  });

  it("goes on by itself when its connections to PostgreSQL were cut", async () => {
    const entity = await log.entity("away");
    const running = await start();
    await running.replicator.waitFor(await log.copy(entity, { x: 1 }), soon(), entity.id);
    await log.postgres.pool.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%emcache.batch%'",
    );
    await running.replicator.waitFor(await log.append(upsert(entity.id, "y", 2)), soon(), entity.id);
    expect(rows(pathOf(running, entity))).toEqual({ x: 1, y: 2 });
  });
});
