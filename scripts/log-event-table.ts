/** One stable name of a line in the log. */
export interface LogEvent {
  /** Its level; several where it depends. */
  readonly level: string;
  /** What happened, and what to do where something is to be done. */
  readonly meaning: string;
}

const info = (meaning: string): LogEvent => ({ level: "info", meaning });
const warn = (meaning: string): LogEvent => ({ level: "warn", meaning });
const error = (meaning: string): LogEvent => ({ level: "error", meaning });
const debug = (meaning: string): LogEvent => ({ level: "debug", meaning });

/** Every `event` of the server's log by the part that it tells of; docs/events.md is made from it. */
export const LOG_EVENTS = {
  "The process": {
    started: info("The process runs; `address` is where its API listens."),
    configured: debug("The configuration in force, without its secrets."),
    config_reloaded: info("SIGHUP: what changed at once (`reloadable`), and what waits for a restart."),
    config_reload_failed: error("SIGHUP: the new configuration is wrong; the one before stays in force."),
    no_sources: warn("No source is configured: nothing is captured here."),
    signal_ignored: info("SIGHUP means nothing to this command."),
    stopping: info("A signal asks the process to end; what is in hand is finished."),
    stopped: info("The process ended in order."),
    stop_forced: warn("A second signal: it ends at once, the next start recovers."),
    stop_gave_up: error("Parts did not stop in `server.shutdown_timeout`; it ends anyway, the next start recovers."),
    stop_failed: error("A part failed while it stopped."),
    service_started: debug("A part has begun."),
    service_stopped: debug("A part has ended."),
    service_stop_failed: error("A part failed while it stopped; the others are stopped all the same."),
    service_stop_gave_up: error("A part did not stop in time and is left behind."),
    fatal: { level: "fatal", meaning: "An error that nobody handled: the process stops. Please report it." },
    metrics: info("Main figures of the process, every `logging.metrics_interval`; see below."),
    tracing_started: info("Traces are sent to `tracing.otlp_endpoint`."),
    tracing_failed: warn("The collector did not take traces; at most one line a minute, and nothing else is affected."),
  },
  Sources: {
    stream_opened: info("The change stream of a source is open."),
    stream_interrupted: warn("The change stream broke; it is opened again where it was, after `delayMs`."),
    capture_interrupted: warn(
      "The capture of a source broke off; it begins anew from its checkpoint, after `delayMs`.",
    ),
    append_retry: warn("Rows could not be appended to the oplog; the same append is made again, after `delayMs`."),
    history_lost: error(
      "The source no longer has the changes since the checkpoint: everything of it is copied anew, readers see old data meanwhile. Enlarge MongoDB's oplog, or look for what kept the capture from running.",
    ),
    transaction_too_large: warn(
      "A source transaction of more than 64 MiB was logged in parts: readers may see half of it.",
    ),
    collection_changed: warn("A collection was dropped, renamed or replaced."),
    collection_missing: warn("An entity's collection does not exist: mind its spelling, and that of the database."),
    embedded_source_started: warn("The source is EMCache's development server in memory, not MongoDB."),
    lease_acquired: info("This process captures the source."),
    lease_taken_over: info("This process captures the source, because the one before showed no sign of life."),
    lease_lost: warn("Another process captures the source now; this one stands by."),
    lease_wait: warn("PostgreSQL does not tell who captures the source; asked again."),
    lease_not_renewed: warn(
      "The lease could not be renewed; another process takes over after three seconds without it.",
    ),
    lease_not_released: warn("The lease could not be given back; a standby waits its three seconds."),
  },
  Copies: {
    copy_started: info("A collection is copied, from the beginning or from where the copy was."),
    copy_read: info("A collection was read to its end."),
    copy_retry: warn("A copy was interrupted; it goes on after its last document, after `delayMs`."),
    copy_paused: info("A copy rests, by an operator's wish."),
    copy_request_failed: error(
      "A cache needs a new copy, and PostgreSQL did not take the request; asked again at the next start.",
    ),
    entity_stopped: error("A reject stopped an entity (`on_reject`): it takes nothing until a new copy."),
    entity_stale: error("An entity's collection is gone and its rows are kept (`on_drop`)."),
    rejects_lost: error("Rejects could not be stored: fewer are shown than there were."),
  },
  Caches: {
    cache_linked: info("NAME.db leads to another file."),
    cache_switched: info("A complete copy is served."),
    cache_removed: info("The file of an entity version that is gone was removed."),
    cache_failed: error("A cache can't be written or read; it is tried again. The reason names the file."),
    cache_recovered: info("A cache that had failed goes on."),
    cache_set_aside: warn("A damaged cache file was renamed; a new one is filled."),
    cache_replaced: warn("A cache file of another log or another shape gave its place to a new one."),
    cache_outdated: warn("A cache's place in the oplog is gone; it keeps its data until it is filled anew."),
    cache_needs_copy: warn("Neither the oplog nor a snapshot can fill a cache: its collection is copied anew."),
    cache_restored: info("A cache goes on from a snapshot of this machine."),
    cache_not_restored: warn("A snapshot could not fill a cache; a new copy is asked for."),
    cache_fetched: info("A cache begins from a snapshot in object storage."),
    cache_not_fetched: warn("A snapshot could not be fetched; the cache is filled from the oplog."),
    bootstrap_failed: warn("Object storage was not reached at the start; caches are filled from the oplog."),
    cache_cleanup_failed: warn("A file or link could not be removed; tried again at the next change."),
    cache_close_failed: warn("A cache file could not be closed in order."),
    claim_failed: warn("What caches or consumers still need of the oplog could not be told to retention; told again."),
    definition_lost: error("A cache file doesn't tell its entity: it can't be created anew from it."),
    log_replaced: error("The oplog is another one than before: caches that follow the old one are replaced."),
    replicate_worker_ended: error("The replicating thread ended and is started again."),
    query_process_failed: warn("A process for SQL queries failed; the next query starts another."),
  },
  "Oplog and PostgreSQL": {
    postgres_ready: info("PostgreSQL is there and its schema is up to date."),
    postgres_absent: warn("PostgreSQL does not answer; tried again after `delayMs`."),
    postgres_lost: warn("PostgreSQL was there and does not answer any more."),
    schema_newer: warn("A newer EMCache has changed the schema."),
    embedded_postgres_elsewhere: warn(
      "The embedded PostgreSQL's files are in another folder, which its user may enter.",
    ),
    embedded_postgres_left: warn("An embedded PostgreSQL that a killed process had left was ended."),
    embedded_postgres_log: { level: "debug, warn", meaning: "A line of the embedded PostgreSQL's own log." },
    embedded_postgres_older: warn("The embedded database stays on the older PostgreSQL that made it."),
    embedded_postgres_set_aside: error(
      "The embedded database is of a PostgreSQL that is not on this machine: it was set aside, everything is copied anew.",
    ),
    entities_restored: warn("Entities of a database that was set aside were created anew."),
    registry_unreadable: { level: "warn, debug", meaning: "The entities can't be read; the last known ones stay." },
    registry_listener_failed: error("A part failed at a change of the entities. Please report it."),
    notify_failed: debug("Other processes could not be woken; they look by themselves at intervals."),
    listen_lost: debug("The connection that is woken broke; it is made again."),
    follow_failed: debug("The oplog could not be read for followers; they were told."),
    retention: info("Old rows of the oplog were dropped (`dropped`), or a new partition was begun (`rolled`)."),
    retention_failed: warn("The oplog could not be trimmed; tried again."),
    retention_hard_cap: error(
      "The oplog reached its hard limit: rows were dropped that readers still need; they start anew. Enlarge the limits, or remove consumers that are gone.",
    ),
  },
  Snapshots: {
    snapshot_created: info("A snapshot was made and verified."),
    snapshot_removed: info("A snapshot that is no longer kept was removed."),
    snapshot_stored: info("A snapshot was stored in object storage."),
    snapshot_damaged: error("A snapshot's file is not what was written: it was set aside and is handed out no more."),
    snapshot_strange: warn("A snapshot is of a history that the oplog no longer has; it is removed."),
    snapshot_leftover_removed: info("An unfinished snapshot of a killed process was removed."),
    snapshot_check_failed: warn("Snapshots could not be checked or made; tried again."),
    snapshot_removal_failed: warn("A snapshot could not be removed; tried again."),
    snapshot_not_registered: warn("Other processes don't know a snapshot yet; told again."),
    object_sync_failed: warn("Object storage is not up to date; tried again."),
    object_removal_failed: warn("An object stays in object storage for a day longer."),
    object_store_collected: info("What crashes had left in object storage was removed."),
  },
  API: {
    api_listening: info("The API listens."),
    certificate_reloaded: info("The certificate of HTTPS was read again."),
    api_open: warn("The API listens beyond this machine and asks for no token. Set `server.auth`."),
    api_stop_failed: warn("The API did not stop cleanly."),
    access_refused: warn(
      "Requests without a right token were refused; at most one line in a while, with their number.",
    ),
    request_failed: error("A request was answered 5xx, with its route and the reason."),
    token_created: info("A token was made; its name, never itself."),
    token_revoked: info("A token was revoked."),
    tokens_not_read: debug("The tokens can't be read; the known ones still count."),
    verification_started: info("A source and a cache are being compared."),
    verification_ended: { level: "info, error", meaning: "They were compared: an error where they differ." },
    verification_failed: warn("They were not compared."),
  },
  "Demo and development server": {
    demo_part_stopped: info("A part of the demo has ended."),
    demo_stop_failed: warn("A part of the demo did not stop."),
    demo_write_failed: warn("The demo's shop could not write."),
    demo_database_left: warn("The demo's database could not be dropped from the server."),
    no_browser: warn("No browser could be opened."),
    dev_mongo_started: { level: "info, warn", meaning: "The development server listens." },
    bad_message: warn("Something that is no MongoDB message arrived at the development server."),
    command_failed: warn("A command of the development server failed unexpectedly. Please report it."),
    stepped_down: info("The development server is no longer primary, as a test asked."),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, LogEvent>>>>;
