import { Int32, Timestamp } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { METRICS } from "../packages/server/src/metrics/metric-table.ts";
import { eventually } from "./support/eventually.ts";
import { openCache, readMetadata } from "./support/oracle.ts";
import { startDevMongo } from "./support/test-mongo.ts";
import { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { workloadEntity } from "./support/workload.ts";

const ROWS = 500;
const WINDOW_S = 7_200;
const USERS = workloadEntity("users", "users");

const folder = useTestFolder("metrics");
let system: TestSystem;
let version: number;

beforeAll(async () => {
  const mongo = await startDevMongo({ folder });
  // What a replica set's own oplog is to a client: the development server has none.
  const oldestS = Math.floor(Date.now() / 1000) - WINDOW_S;
  const entries = [oldestS, oldestS + 60].map((t) => ({ ts: new Timestamp({ t, i: 1 }) }));
  await mongo.client.db("local").collection("oplog.rs").insertMany(entries);
  const settings = { "logging.metrics_interval": 0.5 };
  system = await TestSystem.startOn({ folder, settings }, mongo);
  const documents = Array.from({ length: ROWS }, (_, number) => ({ _id: `u${number}` as never, seq: new Int32(1) }));
  await system.collection("users").insertMany(documents);
  ({ id: version } = await system.create(USERS));
});

afterAll(() => system?.dispose());

/** What /metrics says: samples by name and labels. */
async function samples(): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`${system.emcache.address}/metrics`);
  const lines = (await response.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

test("the figures are the truth: rows, positions, what was appended and applied, who captures", async () => {
  await system.fence(USERS);
  const { position } = await eventually(
    async () => {
      const entity = await system.api.entity("users");
      return entity.lag_entries === 0 && entity.rows === ROWS + 1 ? entity : null;
    },
    30_000,
    () => "the cache has counted its rows",
  );
  const labels = `entity="users",version="${version}"`;
  const shown = await eventually(
    async () => {
      const all = await samples();
      return (all.get('emcache_entity_latency_seconds_count{entity="users"}') ?? 0) > 0 ? all : null;
    },
    30_000,
    () => "the fence's way was measured",
  );
  expect(Object.fromEntries(shown)).toMatchObject({
    emcache_log_head_position: position,
    'emcache_component_healthy{component="source.main"}': 1,
    'emcache_source_lease{source="main",state="held"}': 1,
    [`emcache_entity_state{${labels},state="live"}`]: 1,
    [`emcache_entity_rows{${labels},stage="cache"}`]: ROWS + 1,
    [`emcache_entity_position{${labels},stage="log"}`]: position,
    [`emcache_entity_position{${labels},stage="cache"}`]: position,
    [`emcache_entity_lag_positions{${labels}}`]: 0,
    // With the copy's begin and end.
    [`emcache_entity_appended_rows_total{${labels},origin="copy"}`]: ROWS + 2,
    [`emcache_entity_appended_rows_total{${labels},origin="stream"}`]: 1,
    [`emcache_entity_rejects{${labels}}`]: 0,
  });
  const database = openCache(system.cacheFile("users"));
  try {
    expect(readMetadata(database).position).toBe(shown.get(`emcache_entity_position{${labels},stage="cache"}`));
  } finally {
    database.close();
  }
  const windowS = shown.get('emcache_source_oplog_window_seconds{source="main"}') ?? 0;
  expect(windowS).toBeGreaterThanOrEqual(WINDOW_S - 1);
  expect(windowS).toBeLessThan(WINDOW_S + 300);
  const seconds = shown.get('emcache_entity_latency_seconds_sum{entity="users"}') ?? 0;
  const count = shown.get('emcache_entity_latency_seconds_count{entity="users"}') ?? 0;
  expect(seconds / count).toBeGreaterThan(0);
  expect(seconds / count).toBeLessThan(30);
  expect(shown.get('emcache_source_latency_seconds_count{source="main"}')).toBeGreaterThan(0);
});

test("a snapshot and requests are seen, and every sample is of the table", async () => {
  await fetch(`${system.emcache.address}/api/snapshots/users`, { method: "POST" });
  const shown = await samples();
  const labels = `entity="users",version="${version}"`;
  expect(shown.get(`emcache_entity_rows{${labels},stage="snapshot"}`)).toBe(ROWS + 1);
  expect(shown.get(`emcache_snapshot_age_seconds{${labels}}`)).toBeGreaterThanOrEqual(0);
  const requests =
    'emcache_http_request_duration_seconds_count{method="POST",route="/api/snapshots/:name",status="2xx"}';
  // An answer is counted once it was sent, which may be after it was read.
  await eventually(
    async () => (await samples()).get(requests) === 1,
    10_000,
    () => "the request is counted",
  );
  const own: Readonly<Record<string, { readonly labels: readonly string[] }>> = METRICS;
  for (const sample of shown.keys()) {
    const [, name = "", selector = ""] = /^([a-z0-9_]+)(?:\{(.*)\})?$/.exec(sample) ?? [];
    if (/^(process|nodejs)_/.test(name)) continue;
    const definition = own[name] ?? own[name.replace(/_(bucket|sum|count)$/, "")];
    const found = [...selector.matchAll(/([a-z]+)="/g)]
      .map(([, label]) => label ?? "")
      .filter((label) => label !== "le");
    expect(found.toSorted(), sample).toEqual(definition?.labels.toSorted());
  }
});

test("the log has a line of figures from time to time, and no other than numbers and names", async () => {
  const line = await eventually(
    () => system.emcache.logLines().findLast(({ event, rows }) => event === "metrics" && rows === ROWS + 1) ?? null,
    30_000,
    () => "a line event=metrics",
  );
  expect(line).toMatchObject({
    level: "info",
    module: "metrics",
    entities: 1,
    degraded: [],
    capturing: ["main"],
    copies: 0,
  });
});

test("a source that is away shows as retries, and the caches go on being shown", async () => {
  await (system.mongo as unknown as { development: { stop(): Promise<void> } }).development.stop();
  const shown = await eventually(
    async () => {
      const all = await samples();
      const retries = [...all].find(([name]) =>
        name.startsWith('emcache_retries_total{component="source.main",cause='),
      );
      return (retries?.[1] ?? 0) > 0 ? all : null;
    },
    60_000,
    () => "retries are counted",
  );
  expect(shown.get('emcache_component_healthy{component="source.main"}')).toBe(0);
  expect(shown.get(`emcache_entity_rows{entity="users",version="${version}",stage="cache"}`)).toBe(ROWS + 1);
});
