import { parseLevelSpec } from "../runtime/level-spec.ts";
import { FULL_DOCUMENT_MODES, ROLES } from "./config.ts";
import { booleanOption, integerOption, secondsOption, textOption, wordsOption } from "./option.ts";
import { SECURITY_OPTIONS } from "./security-options.ts";
import { checkUrl, SNAPSHOT_OPTIONS } from "./snapshot-options.ts";
import { TRACING_OPTIONS } from "./tracing-options.ts";

/** The word that stands for a database that EMCache runs itself. */
export const EMBEDDED = "embedded";

const DAY_S = 86_400;
const MEBIBYTE = 1_048_576;

/** Shortest interval: anything below is a busy loop. */
const INTERVAL_S_MIN = 0.01;

/**
 * Every setting but those of the sources, by its key in config.toml. The environment's name, the flag, the help, the
 * reference in docs/configuration.md and config.toml.example all come from here. Where the brief's config.toml shows
 * a value that is also a sensible default, it is the default.
 */
export const OPTIONS = {
  data_dir: textOption({
    description: "Directory of the embedded PostgreSQL and of what else EMCache keeps beside the caches.",
    type: "path",
    default: "emcache-data",
    reason: "works without any rights beyond the working directory",
    shortFlag: "data-dir",
    check: checkPath,
  }),
  roles: wordsOption({
    description: "What this process does: capture sources, replicate caches, serve the API.",
    words: ROLES,
    default: ROLES,
    reason: "one process does all of it until one machine is not enough",
  }),
  "server.host": textOption({
    description: "Address that the API listens on.",
    type: "host name or IP address",
    default: "127.0.0.1",
    reason: 'reachable from other machines only when asked for ("0.0.0.0")',
    shortFlag: "host",
    check(value) {
      if (value === "" || /[\s/]/.test(value)) {
        throw new RangeError(`${JSON.stringify(value)} is no address; expected for example "0.0.0.0" or "::1"`);
      }
    },
  }),
  "server.port": integerOption({
    description: "Port that the API listens on; 0 takes any free one, which the line `started` of the log names.",
    min: 0,
    max: 65_535,
    unit: "",
    default: 8080,
    reason: "the usual alternative to 80 that needs no privilege",
    shortFlag: "port",
  }),
  "server.advertise_url": textOption({
    description:
      "URL under which clients and other processes reach this process's API. Another process redirects requests for a snapshot that lies here to it. Empty: they answer 503.",
    type: "http:// or https:// URL",
    default: "",
    reason: "a process can't know how it is reached from elsewhere",
    example: "http://emcache-1.internal:8080",
    check: checkUrl,
  }),
  "server.waiting_max": integerOption({
    description: "Requests that may wait for the log to grow at once (wait_ms, streams); one more is answered 429.",
    min: 1,
    max: 1_000_000,
    unit: "requests",
    default: 5_000,
    reason: "ten times what bench/consumers.ts measures on two cores; each one holds a connection",
  }),
  "server.cache_public": booleanOption({
    description:
      "Whether HTTP caches in front may share full pages of the log among clients (`cache-control: public`) or only keep each client's own (`private`).",
    default: false,
    reason: "a shared cache hands out what it holds without asking for a token; yours to say that this is right",
  }),
  ...SECURITY_OPTIONS,
  "server.shutdown_timeout": secondsOption({
    description: "How long a stop may take: requests and batches in hand are finished in it, then given up.",
    min: 0,
    max: 3_600,
    default: 10,
    reason: "below the 30 s after which Kubernetes kills, above what a large batch takes",
  }),
  "logging.level": textOption({
    isReloadable: true,
    description:
      "What is logged: trace, debug, info, warn, error, fatal or silent; for single modules too, as in " +
      "`info,source=debug`. `RUST_LOG` is taken where neither the environment nor a flag sets this.",
    type: "level, or levels by module",
    default: "info",
    reason: "what an operator wants to know, a few lines an hour when all is well",
    shortFlag: "log-level",
    check: (value) => void parseLevelSpec(value),
  }),
  "logging.metrics_interval": secondsOption({
    description: "Time between two lines `event=metrics` in the log with the process's main figures; 0 writes none.",
    min: 0,
    max: DAY_S,
    default: 60,
    reason: "a trace of how it was, also where nothing collects /metrics",
  }),
  ...TRACING_OPTIONS,
  "database.postgres.uri": textOption({
    description: 'PostgreSQL that holds the oplog: a URI, or "embedded" for a private server in `data_dir`.',
    type: 'postgres://… or postgresql://… URI, or "embedded"',
    default: EMBEDDED,
    reason: "works with nothing installed",
    example: "postgresql://emcache:PASSWORD@localhost:5432/emcache",
    isSecret: true,
    check(value) {
      if (value !== EMBEDDED && !/^postgres(ql)?:\/\/\S+$/.test(value)) {
        throw new RangeError(
          'is no PostgreSQL URI; expected postgresql://USER:PASSWORD@HOST:5432/DATABASE, or "embedded"',
        );
      }
    },
  }),
  "database.postgres.max_connections": integerOption({
    description: "Most connections of this process to PostgreSQL.",
    min: 2,
    max: 1_000,
    unit: "connections",
    default: 20,
    reason: "five processes fit into the 100 connections that PostgreSQL allows by default",
  }),
  "database.postgres.min_connections": integerOption({
    description: "Connections that are kept open when idle.",
    min: 0,
    max: 1_000,
    unit: "connections",
    default: 5,
    reason: "an append or a page never waits for a connection to be made; lowered to max_connections if that is less",
  }),
  "database.postgres.connection_timeout": secondsOption({
    description: "How long one attempt to connect to PostgreSQL may take before it is made again.",
    min: 0.1,
    max: 3_600,
    default: 10,
    reason: "longer than a slow TLS handshake, shorter than an operator's patience",
  }),
  "cache.base_dir": textOption({
    description: "Directory of the cache files and snapshots; NAME.db in it names the live cache of entity NAME.",
    type: "path",
    default: "caches",
    reason: "beside the program, easy to find; a local disk, not a network file system (SQLite's WAL needs that)",
    check: checkPath,
  }),
  "cache.replication_interval": secondsOption({
    description: "Longest time between two looks into the oplog. Not the latency: each commit wakes the replicator.",
    min: INTERVAL_S_MIN,
    max: DAY_S,
    default: 10,
    reason: "bounds the delay where a wake-up was lost, for instance behind PgBouncer",
  }),
  "cache.entity_refresh_interval": secondsOption({
    description: "Longest time until this process sees an entity that another one created, changed or deleted.",
    min: INTERVAL_S_MIN,
    max: DAY_S,
    default: 10,
    reason: "a fallback like the one above; a change is also notified",
  }),
  ...SNAPSHOT_OPTIONS,
  "copy.max_concurrent": integerOption({
    isReloadable: true,
    description: "Collections of one source that are copied at the same time; further ones wait.",
    min: 1,
    max: 64,
    unit: "copies",
    default: 2,
    reason: "a second copy fills the first one's waits; more only burdens the source",
  }),
  "copy.rows_per_s_max": integerOption({
    isReloadable: true,
    description: "Limit on the documents a second that all copies of one source together read; 0 is no limit.",
    min: 0,
    max: 1_000_000_000,
    unit: "documents a second",
    default: 0,
    reason: "a first copy should be quick; set it where the source serves others",
  }),
  "copy.read_preference": textOption({
    description:
      "Members of a replica set that copies read: `primary`, or `secondary` where there are any (each chunk is a query of its own then).",
    type: '"primary" or "secondary"',
    default: "primary",
    reason: "one cursor on one member is the cheapest; secondaries spare a busy primary",
    check: (value) => {
      if (value !== "primary" && value !== "secondary") {
        throw new RangeError(`${JSON.stringify(value)} is unknown; expected "primary" or "secondary"`);
      }
    },
  }),
  "retention.age": secondsOption({
    isReloadable: true,
    description: "How long the oplog keeps a row at least, if `retention.rows_max` allows.",
    min: 1,
    max: 3_650 * DAY_S,
    default: DAY_S,
    reason: "a reader that was away for a night goes on where it was",
  }),
  "retention.rows_max": integerOption({
    isReloadable: true,
    description:
      "Rows that the oplog keeps. It keeps more for caches, consumers and the newest snapshots that still need them, up to `retention.rows_hard_max`.",
    min: 1_000,
    max: 1_000_000_000_000,
    unit: "rows",
    default: 50_000_000,
    reason: "about 25 GB at 500 bytes a row",
  }),
  "retention.rows_hard_max": integerOption({
    isReloadable: true,
    description:
      "Rows above which the oldest go even where a cache, a consumer or the newest snapshot still needs them: with an error in the log, and whoever needed them starts anew. 0: four times `retention.rows_max`; a number below that one counts as that one.",
    min: 0,
    max: 4_000_000_000_000,
    unit: "rows",
    default: 0,
    reason: "100 GB at the very most with the other defaults: a reader that hangs can't fill PostgreSQL's disk",
  }),
  "retention.claim_ttl": secondsOption({
    description: "How long a cache or a client that went silent still holds back the removal of rows that it needs.",
    min: 1,
    max: 3_650 * DAY_S,
    default: DAY_S,
    reason: "as long as `retention.age`: a reader that is gone for good costs one more day of storage",
  }),
  "memory.follow_bytes_max": integerOption({
    description: "Bound on the newest part of the log that an API process holds in memory for those who follow it.",
    min: MEBIBYTE,
    max: 64 * 1_024 * MEBIBYTE,
    unit: "bytes",
    default: 32 * MEBIBYTE,
    reason: "some 50,000 rows of usual size: a client that is a few seconds behind is served without PostgreSQL",
  }),
  "memory.capture_bytes_max": integerOption({
    description: "Bound on the documents that capture holds in memory on their way into the oplog.",
    min: MEBIBYTE,
    max: 64 * 1_024 * MEBIBYTE,
    unit: "bytes",
    default: 32 * MEBIBYTE,
    reason:
      "fifteen replies of the usual size (2 MiB) in flight keep every stage busy, and 64 MiB copied no faster; a quarter is reserved for the change streams",
  }),
} as const;

/** The settings of one source, by their key in `[sources.NAME]`. */
export const SOURCE_OPTIONS = {
  uri: textOption({
    description: "The MongoDB replica set or sharded cluster.",
    type: 'mongodb://… or mongodb+srv://… URI, or "embedded" for a demo server in this process',
    default: null,
    reason: "there is no default: it must be given",
    example: "mongodb://localhost:27017/myapp?replicaSet=rs0",
    isSecret: true,
    check(value) {
      if (value !== EMBEDDED && !/^mongodb(\+srv)?:\/\/[^/\s]\S*$/.test(value)) {
        throw new RangeError(
          'is no MongoDB URI; expected mongodb://HOST:27017/DATABASE?replicaSet=NAME, or "embedded"',
        );
      }
    },
  }),
  database: textOption({
    description: "The database whose collections entities can name.",
    type: "name of a MongoDB database",
    default: null,
    reason: 'the one in the path of the URI; with "embedded", the source\'s own name',
    example: "myapp",
    check(value) {
      if (!/^[^/\\. "$*<>:|?\0]{1,63}$/.test(value)) {
        throw new RangeError(`${JSON.stringify(value)} can't be the name of a MongoDB database`);
      }
    },
  }),
  full_document: textOption({
    description:
      "How the state after an update is learnt. lookup: the document is read, so several quick updates may show as one. post_image: the image in the change stream is taken where the collection stores images, so that the history is exact and source transactions are whole.",
    type: `${FULL_DOCUMENT_MODES.map((mode) => `"${mode}"`).join(" or ")}; post_image needs MongoDB 6.0 or newer`,
    default: "lookup",
    reason: "it works with every server and asks nothing of the collection",
    check(value) {
      if (!FULL_DOCUMENT_MODES.some((mode) => mode === value)) {
        throw new RangeError(`${JSON.stringify(value)} is no mode; expected ${FULL_DOCUMENT_MODES.join(" or ")}`);
      }
    },
  }),
} as const;

/** What a source may be called: usable in a file name, a URL, and (without regard to case) in an environment variable. */
export const SOURCE_NAME_PATTERN = /^[A-Za-z][A-Za-z0-9-]*(_[A-Za-z0-9-]+)*$/;

type OptionKey = keyof typeof OPTIONS;

/** The value of every option, by key. */
export type OptionValues = { readonly [K in OptionKey]: ReturnType<(typeof OPTIONS)[K]["parse"]> };

/** The environment variable of a key: `server.port` is `EMCACHE_SERVER__PORT`. */
export function environmentName(key: string): string {
  return `EMCACHE_${key.replaceAll(".", "__").replaceAll("-", "_").toUpperCase()}`;
}

function checkPath(value: string): void {
  if (value === "" || value.includes("\0")) throw new RangeError(`${JSON.stringify(value)} is no path`);
}
