import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { TraceCollector } from "../../../../test/support/trace-collector.ts";
import { createLogger } from "./logger.ts";
import { OtlpTracer } from "./otlp-tracer.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

let collector: TraceCollector;
const lines: { readonly event: string }[] = [];

beforeEach(async () => {
  lines.length = 0;
  collector = await TraceCollector.start();
});
afterEach(() => collector.stop());

function tracerOf(endpoint: string): OtlpTracer {
  const write = (line: string): void => void lines.push(JSON.parse(line) as { event: string });
  const logger = createLogger({ level: "info", destination: { write } });
  return new OtlpTracer({ endpoint, samplePercent: 100, programVersion: "1.2.3", logger });
}

test("spans arrive with their attributes, times, outcome and the caller's trace", async () => {
  const tracer = tracerOf(`${collector.url}/`);
  tracer.span("before the start", { attributes: {} }).end();
  await tracer.start();
  const answer = tracer.span("GET /x", {
    attributes: { route: "/x" },
    isServer: true,
    parent: `00-${TRACE}-${PARENT}-01`,
  });
  answer.set({ status: 200, ok: true });
  answer.end();
  tracer.span("page", { attributes: {}, startMs: 1_000_000 }).end(undefined, 1_000_250);
  tracer.span("failed", { attributes: {} }).end(new Error("no mongodb://u:secret@h/"));
  tracer.span("stranger", { attributes: {}, parent: "00-nonsense" }).end();
  await tracer.stop(AbortSignal.timeout(10_000));
  const spans = new Map(collector.spans.map((span) => [span.name, span]));
  expect([...spans.keys()]).toEqual(["GET /x", "page", "failed", "stranger"]);
  expect(spans.get("GET /x")).toMatchObject({
    traceId: TRACE,
    parentSpanId: PARENT,
    kind: 2,
    attributes: { route: "/x", status: 200, ok: true },
    service: "emcache",
  });
  expect(spans.get("page")).toMatchObject({ startTimeUnixNano: "1000000000000", endTimeUnixNano: "1000250000000" });
  expect(spans.get("failed")?.status).toEqual({ code: 2, message: "no mongodb://u:***@h/" });
  expect(spans.get("stranger")?.traceId).not.toBe(TRACE);
  expect(spans.get("stranger")?.parentSpanId).toBeUndefined();
  expect(lines.map(({ event }) => event)).toEqual(["tracing_started"]);
});

test("a collector that takes nothing is told once, and holds nobody up", async () => {
  collector.refuses = true;
  const tracer = tracerOf(collector.url);
  await tracer.start();
  tracer.span("lost", { attributes: {} }).end();
  await tracer.stop(AbortSignal.timeout(10_000));
  await eventually(
    () => lines.some(({ event }) => event === "tracing_failed"),
    10_000,
    () => "a warning",
  );
  expect(collector.spans).toEqual([]);
});
