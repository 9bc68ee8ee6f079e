import { existsSync } from "node:fs";
import { relative, resolve } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Config, SourceConfig, ObjectStoreConfig } from "./config.ts";
import type { Option } from "./option.ts";
import { EMBEDDED, OPTIONS, type OptionValues, SOURCE_NAME_PATTERN, SOURCE_OPTIONS } from "./option-table.ts";
import { readConfigFile } from "./read-config-file.ts";
import { CONFIG_FILE_VARIABLE, readEnvironment } from "./read-environment.ts";
import { checkSecurity, securityOf } from "./security-config.ts";
import { type Setting, type SettingsRead, isKnownKey, nearestKey, sourceKeyOf } from "./setting.ts";

/** Taken where neither `--config` nor `EMCACHE_CONFIG` names a file, if it exists. */
const DEFAULT_FILE = "config.toml";

/** Where settings come from. */
export interface ConfigInput {
  /** The TOML file, as `--config` names it. */
  readonly file?: string;
  readonly env: NodeJS.ProcessEnv;
  /** Values of flags, by key: `{"server.port": "8080"}`. */
  readonly flags: Readonly<Record<string, string>>;
  /** Relative paths, also those inside the file, are relative to this directory. */
  readonly cwd: string;
}

/** A configuration, and where each value was written. */
export interface LoadedConfig {
  readonly config: Config;
  /** By key: `config.toml:3: server.port`, `EMCACHE_SERVER__PORT`, `--server.port`; absent where the default holds. */
  readonly places: ReadonlyMap<string, string>;
  /** Every value by key, a source's whole under `sources.NAME`. */
  readonly values: ReadonlyMap<string, unknown>;
}

/**
 * Puts the configuration together: file < environment < flags.
 *
 * @throws EmcacheError `config_invalid` with every mistake, each as `place: what was wrong; what would be right`.
 */
export function loadConfig(input: ConfigInput): Config {
  return loadConfigWithPlaces(input).config;
}

/** Like `loadConfig`, and tells where each value came from. */
export function loadConfigWithPlaces({ file, env, flags, cwd }: ConfigInput): LoadedConfig {
  const fromFile = readFile(file ?? nonEmpty(env[CONFIG_FILE_VARIABLE]), cwd);
  const fileSources = fromFile.settings.flatMap(({ key }) => sourceKeyOf(key)?.name ?? []);
  const fromEnvironment = readEnvironment(env, fileSources);
  const fromFlags = readFlags(flags);

  const mistakes = [...fromFile.mistakes, ...fromEnvironment.mistakes, ...fromFlags.mistakes];
  const all = [...fromFile.settings, ...fromEnvironment.settings, ...fromFlags.settings];
  const settings = new Map(all.map((setting) => [setting.key, setting]));
  const values = readOptions(OPTIONS, "", settings, mistakes);
  const sources = readSources(settings, mistakes);
  checkConnections(values, settings, mistakes);
  mistakes.push(...checkSecurity(values));
  if (mistakes.length > 0) {
    const count = mistakes.length === 1 ? "a mistake" : `${mistakes.length} mistakes`;
    throw new EmcacheError("config_invalid", `the configuration has ${count}`, { errors: mistakes });
  }
  const places = new Map([...settings].map(([key, { place }]) => [key, place]));
  return { config: buildConfig(values, sources, cwd), places, values: flatValues(values, sources) };
}

function flatValues(
  values: OptionValues,
  sources: Readonly<Record<string, SourceConfig>>,
): ReadonlyMap<string, unknown> {
  const ofSources = Object.entries(sources).map(([name, source]) => [`sources.${name}`, source] as const);
  return new Map<string, unknown>([...Object.entries(values), ...ofSources]);
}

function readFile(file: string | undefined, cwd: string): SettingsRead {
  const path = resolve(cwd, file ?? DEFAULT_FILE);
  if (file === undefined && !existsSync(path)) return { settings: [], mistakes: [] };
  const fromHere = relative(cwd, path);
  return readConfigFile(path, fromHere.startsWith("..") ? path : fromHere);
}

function readFlags(flags: Readonly<Record<string, string>>): SettingsRead {
  const entries = Object.entries(flags);
  return {
    settings: entries
      .filter(([key]) => isKnownKey(key))
      .map(([key, value]) => ({ key, value, isText: true, place: `--${key}` })),
    mistakes: entries
      .filter(([key]) => !isKnownKey(key))
      .map(([key]) => `--${key}: unknown flag; did you mean --${nearestKey(key)}?`),
  };
}

/** The value of each option of a table: what was written, else its default. Mistakes are added to `mistakes`. */
function readOptions<T extends Readonly<Record<string, Option<unknown>>>>(
  options: T,
  prefix: string,
  settings: ReadonlyMap<string, Setting>,
  mistakes: string[],
): { readonly [K in keyof T]: ReturnType<T[K]["parse"]> } {
  const values = Object.entries(options).map(([name, option]) => {
    const setting = settings.get(`${prefix}${name}`);
    if (setting === undefined) return [name, option.default];
    try {
      return [name, option.parse(setting)];
    } catch (error) {
      mistakes.push(`${setting.place}: ${messageOf(error)}`);
      return [name, option.default];
    }
  });
  return Object.fromEntries(values) as { readonly [K in keyof T]: ReturnType<T[K]["parse"]> };
}

function readSources(settings: ReadonlyMap<string, Setting>, mistakes: string[]): Record<string, SourceConfig> {
  const sources: Record<string, SourceConfig> = {};
  const placeOfName = new Map<string, string>();
  for (const { key, place } of settings.values()) {
    const name = sourceKeyOf(key)?.name;
    if (name !== undefined && !placeOfName.has(name)) placeOfName.set(name, place);
  }
  for (const [name, place] of placeOfName) {
    if (!SOURCE_NAME_PATTERN.test(name)) {
      mistakes.push(
        `${place}: ${JSON.stringify(name)} can't name a source; expected letters, digits, "-" and single "_", a letter first`,
      );
    }
    const { uri, database, full_document } = readOptions(SOURCE_OPTIONS, `sources.${name}.`, settings, mistakes);
    const resolved = database ?? (uri === EMBEDDED ? name : databaseOfUri(uri ?? ""));
    if (uri !== null && resolved !== null) {
      const fullDocument = full_document === "post_image" ? "post_image" : "lookup";
      sources[name] = { uri, database: resolved, fullDocument };
    } else if (uri === null && !settings.has(`sources.${name}.uri`)) {
      mistakes.push(`${place}: sources.${name}.uri is missing; expected mongodb://HOST:27017/DATABASE`);
    } else if (uri !== null) {
      mistakes.push(
        `${place}: sources.${name}.database is missing, and the URI names no database; set it, or end the URI with /DATABASE`,
      );
    }
  }
  return sources;
}

/** The database in a MongoDB URI's path; null where there is none. */
function databaseOfUri(uri: string): string | null {
  const path = /^[a-z+]+:\/\/[^/]*\/([^?]*)/.exec(uri)?.[1] ?? "";
  try {
    return nonEmpty(decodeURIComponent(path)) ?? null;
  } catch {
    return null;
  }
}

function checkConnections(values: OptionValues, settings: ReadonlyMap<string, Setting>, mistakes: string[]): void {
  const written = settings.get("database.postgres.min_connections");
  const min = values["database.postgres.min_connections"];
  const max = values["database.postgres.max_connections"];
  if (written !== undefined && min > max) {
    mistakes.push(`${written.place}: ${min} is more than database.postgres.max_connections, which is ${max}`);
  }
}

function buildConfig(values: OptionValues, sources: Readonly<Record<string, SourceConfig>>, cwd: string): Config {
  const maxConnections = values["database.postgres.max_connections"];
  return {
    server: {
      host: values["server.host"],
      port: values["server.port"],
      advertiseUrl: nonEmpty(values["server.advertise_url"].replace(/\/+$/, "")) ?? null,
      waitingMax: values["server.waiting_max"],
      cachesPublicly: values["server.cache_public"],
      shutdownTimeoutS: values["server.shutdown_timeout"],
      ...securityOf(values, cwd),
    },
    logging: { level: values["logging.level"], metricsIntervalS: values["logging.metrics_interval"] },
    tracing:
      values["tracing.otlp_endpoint"] === ""
        ? null
        : { endpoint: values["tracing.otlp_endpoint"], samplePercent: values["tracing.sample_percent"] },
    dataDir: resolve(cwd, values.data_dir),
    roles: values.roles,
    database: {
      postgres: {
        uri: values["database.postgres.uri"],
        maxConnections,
        minConnections: Math.min(values["database.postgres.min_connections"], maxConnections),
        connectionTimeoutS: values["database.postgres.connection_timeout"],
      },
    },
    sources,
    cache: {
      baseDir: resolve(cwd, values["cache.base_dir"]),
      replicationIntervalS: values["cache.replication_interval"],
      entityRefreshIntervalS: values["cache.entity_refresh_interval"],
    },
    snapshot: {
      checkIntervalS: values["snapshot.check_interval"],
      minLag: values["snapshot.min_lag"],
      keepCount: values["snapshot.keep_count"],
      keepAgeS: values["snapshot.keep_age"],
      schedule: nonEmpty(values["snapshot.schedule"]) ?? null,
      restoreBytesMax: values["snapshot.restore_bytes_max"],
      store: objectStoreOf(values),
    },
    copy: {
      maxConcurrent: values["copy.max_concurrent"],
      rowsPerSMax: values["copy.rows_per_s_max"],
      readPreference: values["copy.read_preference"] === "secondary" ? "secondary" : "primary",
    },
    retention: {
      ageS: values["retention.age"],
      rowsMax: values["retention.rows_max"],
      rowsHardMax: values["retention.rows_hard_max"],
      claimTtlS: values["retention.claim_ttl"],
    },
    memory: {
      captureBytesMax: values["memory.capture_bytes_max"],
      followBytesMax: values["memory.follow_bytes_max"],
    },
  };
}

/** Null where no bucket is named. */
function objectStoreOf(values: OptionValues): ObjectStoreConfig | null {
  const bucket = values["snapshot.store.bucket"];
  if (bucket === "") return null;
  const accessKeyId = values["snapshot.store.access_key_id"];
  const secretAccessKey = values["snapshot.store.secret_access_key"];
  return {
    bucket,
    endpoint: nonEmpty(values["snapshot.store.endpoint"]) ?? null,
    prefix: values["snapshot.store.prefix"],
    region: values["snapshot.store.region"],
    credentials: accessKeyId === "" ? null : { accessKeyId, secretAccessKey },
    isPathStyle: values["snapshot.store.path_style"],
    presigns: values["snapshot.store.presign"],
    presignExpiryS: values["snapshot.store.presign_expiry"],
  };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
