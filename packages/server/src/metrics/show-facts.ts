import { secondOfMs } from "../source/cluster-time.ts";
import type { AppendTotal } from "./append-totals.ts";
import type { CopySpeed } from "./copy-speed.ts";
import type { LoopDelay } from "./event-loop-delay.ts";
import type { MetricsFacts, MetricsParts, VersionFactsShown } from "./metrics-facts.ts";
import type { MetricSet } from "./metric-set.ts";

/** What is shown beside what the parts know. */
export interface ShownBeside {
  readonly programVersion: string;
  readonly loopDelay: LoopDelay | null;
  readonly appended: readonly AppendTotal[];
  readonly speed: CopySpeed;
  /** Bytes in memory and their bound, by the queue's name. */
  readonly queues: ReadonlyMap<string, { readonly bytes: number; readonly bytesMax: number }>;
  readonly nowMs: number;
  readonly monotonicMs: number;
}

/** Sets every gauge and counter to what is known now. */
export function showFacts(set: MetricSet, parts: MetricsParts, facts: MetricsFacts, beside: ShownBeside): void {
  set.clearShown();
  showProcess(set, parts, beside);
  showLog(set, parts, facts);
  showSources(set, parts, facts);
  for (const version of facts.versions) showVersion(set, version, facts, beside);
  for (const { version, origin, rows, bytes } of beside.appended) {
    const name = facts.versions.find((known) => known.version === version)?.name;
    if (name === undefined) continue;
    const labels = { entity: name, version: String(version), origin };
    set.counter("emcache_entity_appended_rows_total", labels, rows);
    set.counter("emcache_entity_appended_bytes_total", labels, bytes);
  }
}

function showProcess(set: MetricSet, { health, pool }: MetricsParts, beside: ShownBeside): void {
  set.gauge("emcache_build_info", { version: beside.programVersion }, 1);
  for (const [component, { status }] of Object.entries(health.states())) {
    set.gauge("emcache_component_healthy", { component }, status === "healthy" ? 1 : 0);
  }
  for (const { component, cause, count } of health.retries()) {
    set.counter("emcache_retries_total", { component, cause }, count);
  }
  const delay = beside.loopDelay;
  set.gauge("emcache_event_loop_delay_seconds", { quantile: "0.5" }, delay?.p50S ?? null);
  set.gauge("emcache_event_loop_delay_seconds", { quantile: "0.99" }, delay?.p99S ?? null);
  set.gauge("emcache_event_loop_delay_seconds", { quantile: "1" }, delay?.maxS ?? null);
  set.gauge("emcache_postgres_connections", { state: "idle" }, pool.idleCount);
  set.gauge("emcache_postgres_connections", { state: "busy" }, pool.totalCount - pool.idleCount);
  set.gauge("emcache_postgres_connections", { state: "waiting" }, pool.waitingCount);
  for (const [queue, { bytes, bytesMax }] of beside.queues) {
    set.gauge("emcache_queue_bytes", { queue }, bytes);
    set.gauge("emcache_queue_limit_bytes", { queue }, bytesMax);
  }
}

function showLog(set: MetricSet, { hub }: MetricsParts, { log }: MetricsFacts): void {
  set.gauge("emcache_log_head_position", {}, log?.head ?? null);
  set.gauge("emcache_log_floor_position", {}, log?.floor ?? null);
  set.gauge("emcache_log_rows", {}, log === null ? null : Math.max(0, log.head - log.floor + 1));
  set.gauge("emcache_log_bytes", {}, log?.sizeBytes ?? null);
  set.gauge("emcache_follow_waiters", {}, hub.waiterCount);
  set.gauge("emcache_follow_waiters_limit", {}, hub.waitersMax);
  set.counter("emcache_follow_pages_read_total", {}, hub.counts.pagesRead);
  set.counter("emcache_follow_batches_shared_total", {}, hub.counts.batchesTaken);
}

function showSources(set: MetricSet, parts: MetricsParts, { log }: MetricsFacts): void {
  for (const service of parts.sources) {
    const source = service.sourceName;
    const { lagMs, hasLease, oplogWindowMs } = service.status();
    set.gauge("emcache_source_lag_seconds", { source }, inSeconds(lagMs));
    set.gauge("emcache_source_lease", { source, state: "held" }, hasLease ? 1 : 0);
    set.gauge("emcache_source_lease", { source, state: "waiting" }, hasLease ? 0 : 1);
    set.gauge("emcache_source_oplog_window_seconds", { source }, inSeconds(oplogWindowMs));
  }
  for (const { source, epoch, capturedTime } of log?.sources ?? []) {
    if (!parts.sourceNames.includes(source)) continue;
    const capturedS = capturedTime === null ? null : secondOfMs(capturedTime) / 1000;
    set.gauge("emcache_source_checkpoint_timestamp_seconds", { source }, capturedS);
    set.gauge("emcache_source_lease_epoch", { source }, epoch);
  }
}

/** In the order of `/api/entities`' reference. */
const STATES = ["copying", "live", "failed", "stopped", "stale"] as const;

function showVersion(set: MetricSet, shown: VersionFactsShown, { log }: MetricsFacts, beside: ShownBeside): void {
  const { name, version, status, cache, snapshot } = shown;
  const labels = { entity: name, version: String(version) };
  for (const state of STATES) set.gauge("emcache_entity_state", { ...labels, state }, status.state === state ? 1 : 0);
  const inCache = { ...labels, stage: "cache" };
  const inSnapshot = { ...labels, stage: "snapshot" };
  set.gauge("emcache_entity_rows", inCache, cache?.rows ?? null);
  set.gauge("emcache_entity_rows", inSnapshot, snapshot?.rows ?? null);
  set.gauge("emcache_entity_bytes", inCache, cache?.sizeBytes ?? null);
  set.gauge("emcache_entity_bytes", inSnapshot, snapshot?.size_bytes ?? null);
  set.gauge("emcache_entity_position", { ...labels, stage: "log" }, log?.head ?? null);
  set.gauge("emcache_entity_position", inCache, cache?.position ?? null);
  set.gauge("emcache_entity_position", inSnapshot, snapshot?.position ?? null);
  set.gauge("emcache_entity_lag_seconds", { ...labels, stage: "log" }, inSeconds(shown.sourceLagMs));
  set.gauge("emcache_entity_lag_seconds", inCache, inSeconds(status.lag_ms));
  set.gauge("emcache_entity_lag_positions", labels, cache?.lagEntries ?? null);
  if (cache !== null) set.counter("emcache_entity_applied_rows_total", labels, cache.appliedRows);
  set.gauge("emcache_entity_rejects", labels, status.rejects);
  set.gauge("emcache_cache_wal_bytes", labels, cache?.walBytes ?? null);
  const ageMs = snapshot === null ? null : Math.max(0, beside.nowMs - Date.parse(snapshot.created_at));
  set.gauge("emcache_snapshot_age_seconds", labels, inSeconds(ageMs));
  const isPaused = status.copy_paused;
  set.gauge("emcache_copy_paused", labels, isPaused === null ? null : Number(isPaused));
  showCopy(set, shown, beside);
}

function showCopy(set: MetricSet, { name, version, status, copy }: VersionFactsShown, beside: ShownBeside): void {
  if (copy === null) return;
  const labels = { entity: name, version: String(version) };
  set.gauge("emcache_copy_rows", labels, copy.rowCount);
  set.gauge("emcache_copy_expected_rows", labels, copy.rowCountEstimate);
  set.gauge("emcache_copy_progress_ratio", labels, status.percent === null ? null : status.percent / 100);
  set.gauge("emcache_copy_eta_seconds", labels, beside.speed.etaS(copy, beside.monotonicMs));
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}
