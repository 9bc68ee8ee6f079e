import { Int32 } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { startDevMongo } from "./support/test-mongo.ts";
import { TestSystem } from "./support/test-system.ts";
import { type CollectedSpan, TraceCollector } from "./support/trace-collector.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { workloadEntity } from "./support/workload.ts";

const folder = useTestFolder("tracing");
const USERS = workloadEntity("users", "users");
let collector: TraceCollector;
let system: TestSystem;

beforeAll(async () => {
  collector = await TraceCollector.start();
  const mongo = await startDevMongo({ folder });
  const settings = { "tracing.otlp_endpoint": collector.url };
  // OpenTelemetry's own variable: how long spans are gathered.
  const environment = { OTEL_BSP_SCHEDULE_DELAY: "100" };
  system = await TestSystem.startOn({ folder, settings, emcache: { environment } }, mongo);
  await system.collection("users").insertMany([{ _id: "u1" as never, seq: new Int32(1) }]);
});

afterAll(async () => {
  await system?.dispose();
  await collector?.stop();
});

async function untilSpan(name: string, isIt: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
  return eventually(
    () => collector.spans.find((span) => span.name === name && isIt(span)) ?? null,
    30_000,
    () => `a span ${name}; there are ${[...new Set(collector.spans.map((span) => span.name))].join(", ")}`,
  );
}

test("a document's way is traced: chunk of the copy, append, page, snapshot, request", async () => {
  await system.create(USERS);
  await system.fence(USERS);
  await fetch(`${system.emcache.address}/api/snapshots/users`, { method: "POST" });
  const chunk = await untilSpan("copy chunk", ({ attributes }) => attributes["documents"] === 1);
  expect(chunk.attributes).toMatchObject({ entity: "users", collection: "users" });
  const append = await untilSpan("append", ({ attributes }) => Number(attributes["rows"]) > 0);
  expect(append.attributes).toMatchObject({ source: "main", retried: false });
  const page = await untilSpan("apply page", ({ attributes }) => Number(attributes["rows"]) > 0);
  expect(BigInt(page.endTimeUnixNano) >= BigInt(page.startTimeUnixNano)).toBe(true);
  const snapshot = await untilSpan("snapshot", () => true);
  expect(snapshot.attributes).toMatchObject({ entity: "users", rows: 2 });
  const request = await untilSpan("POST /api/snapshots/:name", () => true);
  expect(request.kind).toBe(2);
  expect(request.attributes).toMatchObject({ "http.request.method": "POST", "http.route": "/api/snapshots/:name" });
});
