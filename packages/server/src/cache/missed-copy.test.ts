import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeEntity } from "../entity/testing/make-entity.ts";
import { batchOf, bracket, upsert } from "../oplog/testing/log-fixture.ts";
import { MemoryOplog } from "../oplog/testing/memory-oplog.ts";
import type { CaptureBatch } from "../source/capture-log.ts";
import { systemClock } from "../runtime/clock.ts";
import type { CacheStatus } from "./cache-status.ts";
import { ReplicateLoop } from "./replicate-loop.ts";

const entity = makeEntity([["string", "$.v"]]);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "emcache-missed-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function eventually(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error("not in time");
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}

test("a cache that was opened while its version was pending asks for a copy, if retention took the first one's begin", async () => {
  const oplog = new MemoryOplog("log");
  const epoch = oplog.takeLease("main");
  let { number } = oplog.load("main", epoch);
  const append = (batch: CaptureBatch): unknown =>
    oplog.seal({ source: "main", epoch, number: (number += 1), tag: `tag${number}` }, batch);
  let statuses: readonly CacheStatus[] = [];
  const asked: number[] = [];
  // The process is frozen while this is shut: its pages wait.
  let gate = Promise.resolve();
  const loop = new ReplicateLoop({
    log: {
      page: async (request) => {
        await gate;
        return oplog.page(request);
      },
      head: async () => oplog.head(),
      latestSyncStart: async (version) => oplog.latestSyncStart(version),
    },
    report: {
      statuses: (told) => {
        statuses = told;
      },
      needsCopy: (version) => asked.push(version),
      rejects: () => undefined,
      log: () => undefined,
      line: () => undefined,
    },
    baseDir: folder,
    intervalMs: 20,
    clock: systemClock,
  });
  loop.setRecords([{ entity, state: "pending" }]);
  const end = new AbortController();
  const running = loop.run(end.signal);
  await eventually(() => statuses.length === 1);
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = promise;
  append(batchOf([bracket("sync_start", entity.id), upsert("1", entity.id)]));
  append(batchOf([bracket("sync_end", entity.id)]));
  append(batchOf([upsert("2", entity.id)]));
  oplog.dropBelow(oplog.position);
  resolve();
  // It places itself anew at the log's end, still as pending, and only then hears that the version is live.
  await eventually(() => statuses[0]?.position === oplog.position);
  expect(asked).toEqual([]);
  loop.setRecords([{ entity, state: "live" }]);
  await eventually(() => asked.length > 0);
  append(batchOf([bracket("sync_start", entity.id), upsert("1", entity.id), bracket("sync_end", entity.id)]));
  await eventually(() => statuses[0]?.dataState === "whole");
  expect(asked).toEqual([entity.id]);
  end.abort();
  await running;
}, 60_000);
