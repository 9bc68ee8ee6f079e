import type { AppendTotal } from "./append-totals.ts";
import type { LoopDelay } from "./event-loop-delay.ts";
import type { MetricsFacts, MetricsParts } from "./metrics-facts.ts";

/** What is told beside what the parts know. */
export interface ToldBeside {
  readonly loopDelay: LoopDelay | null;
  readonly appended: readonly AppendTotal[];
  readonly queueBytes: number;
}

/** The main figures of the process, for one line of the log; what is not known is null. */
export function metricsLine(
  parts: MetricsParts,
  { log, versions }: MetricsFacts,
  { loopDelay, appended, queueBytes }: ToldBeside,
): Readonly<Record<string, unknown>> {
  const caches = versions.flatMap(({ cache }) => (cache === null ? [] : [cache]));
  const unhealthy = Object.entries(parts.health.states()).filter(([, { status }]) => status !== "healthy");
  return {
    entities: new Set(versions.map(({ name }) => name)).size,
    not_live: versions.filter(({ status }) => status.state !== "live").map(({ name }) => name),
    degraded: unhealthy.map(([component]) => component),
    capturing: parts.sources.filter((source) => source.status().hasLease).map(({ sourceName }) => sourceName),
    log_head: log?.head ?? null,
    log_rows: log === null ? null : Math.max(0, log.head - log.floor + 1),
    lag_ms: greatest(versions.map(({ status }) => status.lag_ms)),
    lag_entries: greatest(caches.map(({ lagEntries }) => lagEntries)),
    rows: sum(caches.map(({ rows }) => rows)),
    cache_bytes: sum(caches.map(({ sizeBytes }) => sizeBytes)),
    appended_rows: sum(appended.map(({ rows }) => rows)),
    applied_rows: sum(caches.map(({ appliedRows }) => appliedRows)),
    rejects: sum(versions.map(({ status }) => status.rejects ?? 0)),
    retries: sum(parts.health.retries().map(({ count }) => count)),
    copies: versions.filter(({ copy }) => copy !== null).length,
    waiters: parts.hub.waiterCount,
    queue_bytes: queueBytes,
    rss_bytes: process.memoryUsage.rss(),
    loop_delay_ms: loopDelay === null ? null : Math.round(loopDelay.p99S * 1000),
  };
}

function greatest(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
