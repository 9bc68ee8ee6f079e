/** One metric: what the exposition and docs/metrics.md say of it. */
export interface MetricDefinition {
  readonly type: "gauge" | "counter" | "histogram";
  readonly labels: readonly string[];
  /** A sentence without its end; its unit is the name's end. */
  readonly help: string;
  /** Upper bounds of a histogram's buckets. */
  readonly buckets?: readonly number[];
}

/** From a quick change in an idle system to a minute of backlog. */
const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;
/** A request may wait for the log for a minute, and a snapshot's download may take longer. */
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120] as const;

const ENTITY = ["entity", "version"] as const;

/**
 * Every metric of EMCache's own, by name: the Prometheus conventions ("Metric and label naming"), base units last.
 * docs/metrics.md is generated from here, and tests hold the exposition, the alert rules and the dashboard against it.
 */
export const METRICS = {
  emcache_build_info: { type: "gauge", labels: ["version"], help: "Always 1; the label tells the version that runs" },
  emcache_component_healthy: {
    type: "gauge",
    labels: ["component"],
    help: "1 where `/health` calls the part healthy, else 0",
  },
  emcache_retries_total: {
    type: "counter",
    labels: ["component", "cause"],
    help: "How often a part failed and tried again, by the code of the error (docs/errors.md)",
  },
  emcache_event_loop_delay_seconds: {
    type: "gauge",
    labels: ["quantile"],
    help: "How late the main thread's event loop was in the last 15 s or so; quantile 1 is the longest delay",
  },
  emcache_postgres_connections: {
    type: "gauge",
    labels: ["state"],
    help: "Connections of the pool to PostgreSQL, `idle` and `busy`; `waiting` are those who wait for one",
  },

  emcache_log_head_position: { type: "gauge", labels: [], help: "The oplog's last position" },
  emcache_log_floor_position: { type: "gauge", labels: [], help: "The lowest position that the oplog still holds" },
  emcache_log_rows: { type: "gauge", labels: [], help: "Rows that the oplog holds" },
  emcache_log_bytes: {
    type: "gauge",
    labels: [],
    help: "What EMCache's schema takes on PostgreSQL's disk, with indexes",
  },

  emcache_source_lag_seconds: {
    type: "gauge",
    labels: ["source"],
    help: "For how long the capture has not had everything of its source; absent where another process captures it",
  },
  emcache_source_checkpoint_timestamp_seconds: {
    type: "gauge",
    labels: ["source"],
    help: "The source's cluster time up to which the oplog has it, whichever process captures it; moves at least every 5 s",
  },
  emcache_source_lease: {
    type: "gauge",
    labels: ["source", "state"],
    help: "1 for the state of this process's lease: `held` where it captures the source, `waiting` where it stands by",
  },
  emcache_source_lease_epoch: { type: "gauge", labels: ["source"], help: "How often the source's lease changed hands" },
  emcache_source_oplog_window_seconds: {
    type: "gauge",
    labels: ["source"],
    help: "For how long the capture may stand still until the source's own oplog no longer holds its place, looked up each minute; absent where the source doesn't say",
  },
  emcache_source_latency_seconds: {
    type: "histogram",
    labels: ["source"],
    help: "From a change's commit in the source (its wallTime; before MongoDB 6.0 the second of its cluster time) to its commit in the oplog: the oldest change of each append",
    buckets: LATENCY_BUCKETS,
  },

  emcache_entity_state: {
    type: "gauge",
    labels: [...ENTITY, "state"],
    help: "1 for the state that `/api/entities` shows (copying, live, failed, stopped, stale)",
  },
  emcache_entity_rows: {
    type: "gauge",
    labels: [...ENTITY, "stage"],
    help: "Rows of the entity in this process's `cache`, and in its newest `snapshot`",
  },
  emcache_entity_bytes: {
    type: "gauge",
    labels: [...ENTITY, "stage"],
    help: "Size of the `cache` file with its WAL, and of the newest `snapshot`",
  },
  emcache_entity_position: {
    type: "gauge",
    labels: [...ENTITY, "stage"],
    help: "How far each stage is: `log` (the oplog's head), `cache` (applied), `snapshot` (the newest one)",
  },
  emcache_entity_lag_seconds: {
    type: "gauge",
    labels: [...ENTITY, "stage"],
    help: "How far the stage may be behind the source: `log` (captured) and `cache` (applied); absent where this process doesn't know",
  },
  emcache_entity_lag_positions: {
    type: "gauge",
    labels: ENTITY,
    help: "Positions of the oplog, of any entity, that the cache has not read yet",
  },
  emcache_entity_appended_rows_total: {
    type: "counter",
    labels: [...ENTITY, "origin"],
    help: "Rows of the entity that this process appended to the oplog, from the change `stream` or a `copy`",
  },
  emcache_entity_appended_bytes_total: {
    type: "counter",
    labels: [...ENTITY, "origin"],
    help: "Bytes of the values in those rows",
  },
  emcache_entity_applied_rows_total: {
    type: "counter",
    labels: ENTITY,
    help: "Rows of the oplog that this process applied to the entity's cache",
  },
  emcache_entity_rejects: {
    type: "gauge",
    labels: ENTITY,
    help: "Values and documents that could not be mapped, since the copy began or they were cleared",
  },
  emcache_entity_latency_seconds: {
    type: "histogram",
    labels: ["entity"],
    help: "From a change's commit in the source to its commit in the cache, in a process that does both: the oldest change of each append, as exact as the cache's reports (100 ms under load)",
    buckets: LATENCY_BUCKETS,
  },
  emcache_copy_rows: { type: "gauge", labels: ENTITY, help: "Documents that the running copy has read" },
  emcache_copy_expected_rows: {
    type: "gauge",
    labels: ENTITY,
    help: "Documents that the collection had when the copy began",
  },
  emcache_copy_progress_ratio: { type: "gauge", labels: ENTITY, help: "How much of the running copy is done, 0 to 1" },
  emcache_copy_eta_seconds: {
    type: "gauge",
    labels: ENTITY,
    help: "When the running copy will be done at the speed of the last minute; absent while that is not known",
  },
  emcache_copy_paused: { type: "gauge", labels: ENTITY, help: "1 where an operator paused the entity's copies" },
  emcache_cache_wal_bytes: {
    type: "gauge",
    labels: ENTITY,
    help: "Size of the cache's WAL; it grows while a forgotten reader keeps an old state open",
  },
  emcache_snapshot_age_seconds: {
    type: "gauge",
    labels: ENTITY,
    help: "Since when the newest snapshot was made or stamped anew",
  },

  emcache_queue_bytes: {
    type: "gauge",
    labels: ["queue"],
    help: "Held in memory: `capture` (on its way into the oplog), `follow` (the oplog's newest part for followers), `bodies` (answers that clients have not taken)",
  },
  emcache_queue_limit_bytes: { type: "gauge", labels: ["queue"], help: "The bound of each of these queues" },
  emcache_follow_waiters: { type: "gauge", labels: [], help: "Requests that wait for the oplog to grow" },
  emcache_follow_waiters_limit: { type: "gauge", labels: [], help: "Requests that may wait at once" },
  emcache_follow_pages_read_total: { type: "counter", labels: [], help: "Pages read from PostgreSQL for followers" },
  emcache_follow_batches_shared_total: {
    type: "counter",
    labels: [],
    help: "Batches of this process that followers were given from memory",
  },
  emcache_http_request_duration_seconds: {
    type: "histogram",
    labels: ["method", "route", "status"],
    help: "Duration of requests by route and class of status (`2xx`); waiting for the log (`wait_ms`) and downloads are part of it",
    buckets: REQUEST_BUCKETS,
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof METRICS;

/** The values of a metric's labels. */
export type LabelsOf<Name extends MetricName> = Readonly<Record<(typeof METRICS)[Name]["labels"][number], string>>;
