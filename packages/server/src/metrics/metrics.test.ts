import { EmcacheError } from "@emcache/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TestApi, USERS } from "../api/testing/test-api.ts";
import type { CacheStatus } from "../cache/cache-status.ts";
import { createLogger } from "../runtime/logger.ts";
import type { LogRow } from "../source/log-row.ts";
import type { CopyCheckpoint } from "../source/capture-log.ts";
import type { CaptureStatus } from "../source/source-service.ts";
import type { MetricsParts } from "./metrics-facts.ts";
import { METRICS } from "./metric-table.ts";
import { Metrics } from "./metrics.ts";

const COPY: CopyCheckpoint = {
  copyId: "c",
  version: 1,
  state: "running",
  lastId: null,
  rowCount: 30,
  rowCountEstimate: 120,
};

let api: TestApi;
let metrics: Metrics;
let parts: MetricsParts;
let nowMs = 1_000_000;
let copies = new Map<number, CopyCheckpoint>();
const caches = new Map<number, CacheStatus>();
const lines: { readonly event: string; readonly [field: string]: unknown }[] = [];

/** PostgreSQL's answer to what the log is like; null: it is away. */
let logRow: object | null;

const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };

function cacheOf(version: number, position: number): CacheStatus {
  return {
    version,
    mode: "live",
    dataState: "whole",
    rows: 10,
    position,
    tag: "t",
    isVerified: true,
    lagEntries: 5,
    lastError: null,
    path: "/c",
    sizeBytes: 4096,
    walBytes: 1024,
    appliedRows: 12,
    appliedAt: nowMs,
  };
}

function rowOf(version: number): LogRow {
  return {
    version,
    operation: "upsert",
    docId: "d",
    idType: 2,
    origin: "stream",
    transaction: null,
    transactionEnd: false,
    data: '["x"]',
  };
}

beforeEach(async () => {
  lines.length = 0;
  caches.clear();
  copies = new Map();
  nowMs = 1_000_000;
  logRow = {
    position: "42",
    floor: "3",
    size_bytes: "8192",
    sources: [{ source: "main", epoch: 7, captured_time: String(900n << 32n) }],
  };
  const write = (line: string): void => void lines.push(JSON.parse(line) as { event: string });
  metrics = new Metrics({
    parts: () => parts,
    programVersion: "1.2.3",
    lineIntervalMs: 20,
    hasCaches: true,
    logger: createLogger({ level: "info", destination: { write } }),
    clock,
  });
  api = new TestApi({ metrics });
  const client = {
    query: async () => {
      if (logRow === null) throw new Error("away");
      return { rows: [logRow] };
    },
    on: () => undefined,
    off: () => undefined,
    release: () => undefined,
  };
  const pool = { connect: async () => client, idleCount: 2, totalCount: 5, waitingCount: 0 };
  const status = (): CaptureStatus => ({ lagMs: 250, copies, hasLease: true, oplogWindowMs: 7_200_000 });
  parts = {
    registry: api.registry,
    caches: { statuses: () => caches },
    captures: {
      captureStatus: () => ({ lagMs: 250, error: null }),
      copyProgress: (version) => copies.get(version) ?? null,
    },
    copies: api.copyControl,
    rejects: {
      count: async () => api.rejects,
      list: async () => [],
      clear: async () => undefined,
    },
    snapshots: { list: async () => (api.snapshot === null ? [] : [api.snapshot.manifest]) },
    sourceNames: ["main"],
    sources: [{ sourceName: "main", status }],
    hub: api.hub,
    pool: pool as unknown as MetricsParts["pool"],
    health: api.health,
  };
  await api.start();
  await metrics.start();
});

afterEach(async () => {
  await metrics.stop();
  await api.close();
});

/** What the exposition says: samples by name and labels. */
async function exposed(): Promise<ReadonlyMap<string, number>> {
  const response = await api.request("/metrics");
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const text = await response.text();
  const samples = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

test("the exposition has every metric of the table, with its type and help, and no other of EMCache's", async () => {
  const text = await (await api.request("/metrics")).text();
  const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name ?? "", type]));
  const own = [...types].filter(([name]) => !/^(process|nodejs)_/.test(name));
  const table = Object.entries(METRICS).map(([name, { type }]) => [name, type]);
  expect(new Map(own)).toEqual(new Map(table as [string, string][]));
  expect([...types.keys()]).toContain("process_resident_memory_bytes");
  for (const [name, { help }] of Object.entries(METRICS)) expect(text).toContain(`# HELP ${name} ${help}.`);
});

test("names follow the conventions: prefix, base units, _total for counters and for nothing else", () => {
  for (const [name, { type, labels, help }] of Object.entries(METRICS)) {
    expect(name).toMatch(/^emcache_[a-z][a-z_]*[a-z]$/);
    expect(name).not.toMatch(/_(ms|milliseconds|minutes|hours|mb|kb|percent|count)$/);
    expect(name.endsWith("_total"), name).toBe(type === "counter");
    for (const label of labels) expect(label).toMatch(/^[a-z]+$/);
    expect(help).not.toMatch(/\.$/);
  }
});

test("shows what the parts know, and leaves out what nobody knows", async () => {
  const version = await api.add(USERS, "live");
  caches.set(version, cacheOf(version, 37));
  api.statuses.set(version, cacheOf(version, 37));
  api.rejects.set(version, 4);
  const all = await exposed();
  const labels = `entity="users",version="${version}"`;
  expect(Object.fromEntries(all)).toMatchObject({
    'emcache_build_info{version="1.2.3"}': 1,
    emcache_log_head_position: 42,
    emcache_log_rows: 40,
    emcache_log_bytes: 8192,
    'emcache_source_checkpoint_timestamp_seconds{source="main"}': 900,
    'emcache_source_lease_epoch{source="main"}': 7,
    'emcache_source_lease{source="main",state="held"}': 1,
    'emcache_source_lag_seconds{source="main"}': 0.25,
    'emcache_source_oplog_window_seconds{source="main"}': 7200,
    [`emcache_entity_state{${labels},state="live"}`]: 1,
    [`emcache_entity_state{${labels},state="failed"}`]: 0,
    [`emcache_entity_rows{${labels},stage="cache"}`]: 10,
    [`emcache_entity_position{${labels},stage="log"}`]: 42,
    [`emcache_entity_position{${labels},stage="cache"}`]: 37,
    [`emcache_entity_lag_positions{${labels}}`]: 5,
    [`emcache_entity_rejects{${labels}}`]: 4,
    [`emcache_entity_applied_rows_total{${labels}}`]: 12,
    [`emcache_cache_wal_bytes{${labels}}`]: 1024,
    'emcache_postgres_connections{state="busy"}': 3,
    'emcache_queue_bytes{queue="bodies"}': 0,
  });
  expect([...all.keys()].filter((name) => name.includes('stage="snapshot"'))).toEqual([]);
  logRow = null;
  const withoutLog = await exposed();
  expect([...withoutLog.keys()].filter((name) => name.startsWith("emcache_log_"))).toEqual([]);
  expect(withoutLog.get(`emcache_entity_position{${labels},stage="cache"}`)).toBe(37);
});

test("an entity that is gone is not shown any more", async () => {
  const version = await api.add(USERS, "live");
  metrics.observeAppend(
    "main",
    { rows: [rowOf(version)], rejects: [], checkpoint: null, copies: [] },
    { firstPosition: 1, rowCount: 1 },
    nowMs,
  );
  caches.set(version, cacheOf(version, 1));
  metrics.observeCaches(caches);
  expect(
    [...(await exposed()).keys()].some((name) =>
      name.startsWith('emcache_entity_latency_seconds_count{entity="users"'),
    ),
  ).toBe(true);
  await api.registry.delete("users");
  expect([...(await exposed()).keys()].filter((name) => name.includes('entity="users"'))).toEqual([]);
});

test("a change's way is measured from the source's commit to the log's and to the cache's", async () => {
  const version = await api.add(USERS, "live");
  const other = version + 1;
  const rows = [rowOf(version), rowOf(other), { ...rowOf(version), origin: "copy" as const }];
  metrics.observeAppend(
    "main",
    { rows, rejects: [], checkpoint: null, copies: [] },
    { firstPosition: 10, rowCount: 3 },
    nowMs - 300,
  );
  nowMs += 700;
  caches.set(version, cacheOf(version, 9));
  metrics.observeCaches(caches);
  expect((await exposed()).get('emcache_entity_latency_seconds_count{entity="users"}')).toBeUndefined();
  caches.set(version, cacheOf(version, 10));
  metrics.observeCaches(caches);
  metrics.observeCaches(caches);
  const all = Object.fromEntries(await exposed());
  expect(all).toMatchObject({
    'emcache_source_latency_seconds_sum{source="main"}': 0.3,
    'emcache_source_latency_seconds_count{source="main"}': 1,
    'emcache_entity_latency_seconds_sum{entity="users"}': 1,
    'emcache_entity_latency_seconds_count{entity="users"}': 1,
    [`emcache_entity_appended_rows_total{entity="users",version="${version}",origin="stream"}`]: 1,
    [`emcache_entity_appended_rows_total{entity="users",version="${version}",origin="copy"}`]: 1,
    [`emcache_entity_appended_bytes_total{entity="users",version="${version}",origin="stream"}`]: 5,
  });
});

test("a running copy shows how far it is, and once its speed is known, when it will be done", async () => {
  const version = await api.add(USERS, "live");
  copies.set(version, { ...COPY, version });
  const name = (metric: string): string => `${metric}{entity="users",version="${version}"}`;
  const begun = await exposed();
  expect(begun.get(name("emcache_copy_rows"))).toBe(30);
  expect(begun.get(name("emcache_copy_progress_ratio"))).toBe(0.25);
  expect(begun.has(name("emcache_copy_eta_seconds"))).toBe(false);
  nowMs += 10_000;
  copies.set(version, { ...COPY, version, rowCount: 60 });
  expect((await exposed()).get(name("emcache_copy_eta_seconds"))).toBe(20);
  copies.set(version, { ...COPY, version, state: "done" });
  expect([...(await exposed()).keys()].filter((key) => key.startsWith("emcache_copy_rows"))).toEqual([]);
});

test("retries are counted by part and cause, requests by route and class", async () => {
  const health = api.health.component("source.main");
  health.degraded(new EmcacheError("source_unavailable", "away"), { attempt: 1, delayMs: 5 });
  health.degraded(new EmcacheError("source_unavailable", "away"));
  health.retried(new Error("?"));
  await api.request("/nowhere/1");
  await api.request("/nowhere/2");
  await api.request("/api/entities/none");
  const all = Object.fromEntries(await exposed());
  expect(all).toMatchObject({
    'emcache_retries_total{component="source.main",cause="source_unavailable"}': 1,
    'emcache_retries_total{component="source.main",cause="internal"}': 1,
    'emcache_component_healthy{component="source.main"}': 0,
    'emcache_http_request_duration_seconds_count{method="GET",route="none",status="4xx"}': 2,
    'emcache_http_request_duration_seconds_count{method="GET",route="/api/entities/:name",status="4xx"}': 1,
  });
});

test("a line of the log tells the main figures from time to time", async () => {
  const version = await api.add(USERS, "live");
  caches.set(version, cacheOf(version, 37));
  await eventually(
    () => lines.some(({ event, rows }) => event === "metrics" && rows === 10),
    10_000,
    () => "a line",
  );
  expect(lines.findLast(({ event }) => event === "metrics")).toMatchObject({
    level: "info",
    entities: 1,
    log_head: 42,
    lag_entries: 5,
    rows: 10,
    applied_rows: 12,
    capturing: ["main"],
  });
});
