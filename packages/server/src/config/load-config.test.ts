import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Config } from "./config.ts";
import { type ConfigInput, loadConfig, loadConfigWithPlaces } from "./load-config.ts";
import { redactConfig } from "./redact-config.ts";

/** The brief's config.toml, verbatim. */
const BRIEF = `
[server]
host = "0.0.0.0"
port = 8080
shutdown_timeout = 10

[logging]
level = "info"

[database.postgres]
uri = "postgresql://postgres:password@localhost:5432/emcache"
max_connections = 20
min_connections = 5
connection_timeout = 10

[sources.main]
uri = "mongodb://localhost:27017/myapp"
database = "myapp"

[cache]
base_dir = "caches"
replication_interval = 10
entity_refresh_interval = 10

[snapshot]
check_interval = 10
min_lag = 100
`;

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "emcache-config-"));
});
afterEach(() => rmSync(cwd, { recursive: true }));

function load(toml: string | null, input: Partial<ConfigInput> = {}): Config {
  if (toml !== null) writeFileSync(join(cwd, "config.toml"), toml);
  return loadConfig({ env: {}, flags: {}, cwd, ...input });
}

function mistakesOf(toml: string | null, input: Partial<ConfigInput> = {}): readonly string[] {
  try {
    load(toml, input);
  } catch (error) {
    if (error instanceof EmcacheError && error.code === "config_invalid") return error.errors;
    throw error;
  }
  return [];
}

test("takes the brief's config.toml key for key", () => {
  expect(load(BRIEF)).toMatchObject({
    server: { host: "0.0.0.0", port: 8080, shutdownTimeoutS: 10 },
    logging: { level: "info" },
    database: {
      postgres: {
        uri: "postgresql://postgres:password@localhost:5432/emcache",
        maxConnections: 20,
        minConnections: 5,
        connectionTimeoutS: 10,
      },
    },
    sources: { main: { uri: "mongodb://localhost:27017/myapp", database: "myapp", fullDocument: "lookup" } },
    cache: { baseDir: join(cwd, "caches"), replicationIntervalS: 10, entityRefreshIntervalS: 10 },
    snapshot: { checkIntervalS: 10, minLag: 100 },
  });
});

test("works with no file and one source", () => {
  expect(load(null, { env: { EMCACHE_SOURCES__MAIN__URI: "mongodb://localhost/app" } })).toMatchObject({
    server: { host: "127.0.0.1", port: 8080 },
    database: { postgres: { uri: "embedded" } },
    dataDir: join(cwd, "emcache-data"),
    roles: ["capture", "replicate", "api"],
    retention: { ageS: 86_400 },
    sources: { main: { uri: "mongodb://localhost/app", database: "app", fullDocument: "lookup" } },
  });
});

test("file < environment < flags, and says where each value came from", () => {
  writeFileSync(join(cwd, "config.toml"), "[server]\nport = 1\nhost = 'a'\nshutdown_timeout = 1.5\n");
  const { config, places } = loadConfigWithPlaces({
    env: { EMCACHE_SERVER__PORT: "2", EMCACHE_SERVER__HOST: "b" },
    flags: { "server.port": "3" },
    cwd,
  });
  expect(config.server).toMatchObject({ port: 3, host: "b", shutdownTimeoutS: 1.5 });
  expect(places.get("server.port")).toBe("--server.port");
  expect(places.get("server.host")).toBe("EMCACHE_SERVER__HOST");
  expect(places.get("server.shutdown_timeout")).toBe("config.toml:4: server.shutdown_timeout");
  expect(places.has("cache.base_dir")).toBe(false);
});

test("a source in the environment is the file's, in any case of letters, else a new one in lower case", () => {
  const toml = '[sources.Shop-EU]\nuri = "mongodb://a/x"\n';
  const env = { EMCACHE_SOURCES__SHOP_EU__URI: "mongodb://b/y", EMCACHE_SOURCES__OTHER__URI: "mongodb://c/z" };
  expect(load(toml, { env }).sources).toEqual({
    "Shop-EU": { uri: "mongodb://b/y", database: "y", fullDocument: "lookup" },
    other: { uri: "mongodb://c/z", database: "z", fullDocument: "lookup" },
  });
});

test("--config, then EMCACHE_CONFIG, then config.toml; a named file must exist", () => {
  writeFileSync(join(cwd, "a.toml"), "server.port = 1");
  writeFileSync(join(cwd, "b.toml"), "server.port = 2");
  const env = { EMCACHE_CONFIG: "b.toml" };
  expect(load("server.port = 3").server.port).toBe(3);
  expect(load(null, { env }).server.port).toBe(2);
  expect(load(null, { env, file: "a.toml" }).server.port).toBe(1);
  expect(mistakesOf(null, { file: "absent.toml" })).toEqual([expect.stringMatching(/^absent\.toml: can't be read:/)]);
});

test("refuses unknown keys, names the nearest known one and the line", () => {
  const toml = `
[server]
prot = 8080
[databse.postgres]
uri = "embedded"
[sources.main]
uri = "mongodb://localhost/app"
databse = "x"
[cache]
shutdown_timeout = 3
`;
  const env = { EMCACHE_SERVER__PROT: "1", EMCACHE_ROLE: "api", EMCACHE_SOURCES__MAIN__URL: "mongodb://h/x" };
  expect(mistakesOf(toml, { env, flags: { "server.hots": "x" } })).toEqual([
    "config.toml:3: server.prot: unknown key; did you mean server.port?",
    "config.toml:5: databse.postgres.uri: unknown key; did you mean database.postgres.uri?",
    "config.toml:8: sources.main.databse: unknown key; did you mean sources.main.database?",
    "config.toml:10: cache.shutdown_timeout: unknown key; did you mean server.shutdown_timeout?",
    "EMCACHE_ROLE: unknown variable; did you mean EMCACHE_ROLES?",
    "EMCACHE_SERVER__PROT: unknown variable; did you mean EMCACHE_SERVER__PORT?",
    "EMCACHE_SOURCES__MAIN__URL: unknown variable; did you mean EMCACHE_SOURCES__MAIN__URI?",
    "--server.hots: unknown flag; did you mean --server.host?",
  ]);
});

test("leaves alone what Kubernetes and the tests set, and what is empty", () => {
  const env = {
    EMCACHE_SERVICE_HOST: "10.0.0.1",
    EMCACHE_PORT: "tcp://10.0.0.1:8080",
    EMCACHE_PORT_8080_TCP: "tcp://10.0.0.1:8080",
    EMCACHE_TEST_MONGO_URI: "mongodb://h",
    EMCACHE_SERVER__HOST: "",
    RUST_LOG: "",
  };
  expect(mistakesOf(null, { env })).toEqual([]);
});

test("checks types and ranges, all at once", () => {
  const toml = `
roles = ["capture", "cook"]
server.port = 65536
server.host = ""
logging.level = "loud"
[database.postgres]
uri = "mysql://root:secret@h/db"
max_connections = 3
min_connections = 4
connection_timeout = "10"
[sources.main]
uri = "http://root:secret@h"
[sources."a b"]
uri = "mongodb://h/x"
[sources.nodb]
uri = "mongodb://h"
[sources.nouri]
database = "x"
[cache]
replication_interval = 0
[snapshot]
min_lag = 1.5
keep_count = [1]
`;
  const mistakes = mistakesOf(toml);
  const expected: [string, RegExp][] = [
    ["config.toml:9: database.postgres.min_connections: ", /4 is more than database\.postgres\.max_connections, .* 3$/],
    ["config.toml:2: roles: ", /"cook" is unknown; expected one or more of "capture", "replicate", "api"/],
    ["config.toml:3: server.port: ", /65536 does not fit; expected integer from 0 to 65535$/],
    ["config.toml:4: server.host: ", /"" is no address/],
    ["config.toml:5: logging.level: ", /"loud" is no level; expected one of/],
    ["config.toml:7: database.postgres.uri: ", /no PostgreSQL URI; expected postgresql:/],
    ["config.toml:10: database.postgres.connection_timeout: ", /"10" does not fit.*\(without quotes\)/],
    ["config.toml:12: sources.main.uri: ", /no MongoDB URI/],
    ["config.toml:14: sources.a b.uri: ", /"a b" can't name a source/],
    ["config.toml:16: sources.nodb.uri: ", /sources\.nodb\.database is missing, and the URI names no database/],
    ["config.toml:18: sources.nouri.database: ", /sources\.nouri\.uri is missing/],
    ["config.toml:20: cache.replication_interval: ", /0 does not fit; expected seconds from 0\.01/],
    ["config.toml:22: snapshot.min_lag: ", /1\.5 does not fit; expected integer/],
    ["config.toml:23: snapshot.keep_count: ", /an array does not fit/],
  ];
  for (const [place, reason] of expected) {
    const mistake = mistakes.find((candidate) => candidate.startsWith(place));
    expect(mistake, place).toMatch(reason);
  }
  expect(mistakes).toHaveLength(expected.length);
  expect(mistakes.join("\n")).not.toContain("secret");
});

test.each([
  ["a = = 1", /^config\.toml:1: Invalid TOML document: /],
  ["\n[server]\nport = 1\nport = 2\n", /^config\.toml:4: Invalid TOML document: /],
  ["server = 5", /^config\.toml:1: server: is a section, not a value; write \[server\]/],
  ['sources.uri = "mongodb://h/x"', /^config\.toml:1: sources\.uri: a source is a table with a name/],
])("says where the file %j is wrong", (toml, expected) => {
  expect(mistakesOf(toml)).toEqual([expect.stringMatching(expected)]);
});

test("a syntax error's excerpt of the file is not shown: it may hold a password", () => {
  expect(mistakesOf('[sources.main]\nuri = "mongodb://u:hunter2@h/x" oops\n').join()).not.toContain("hunter2");
});

test("a mistake in text of the environment is shown as it was written", () => {
  const env = {
    EMCACHE_SERVER__PORT: "0x50",
    EMCACHE_CACHE__REPLICATION_INTERVAL: "0.05",
    EMCACHE_ROLES: "api, capture",
  };
  expect(mistakesOf(null, { env })).toEqual([
    'EMCACHE_SERVER__PORT: "0x50" does not fit; expected integer from 0 to 65535',
  ]);
  const config = load(null, { env: { ...env, EMCACHE_SERVER__PORT: "0" } });
  expect(config).toMatchObject({
    server: { port: 0 },
    cache: { replicationIntervalS: 0.05 },
    roles: ["capture", "api"],
  });
});

test("secrets can be read from files", () => {
  const path = join(cwd, "secret");
  writeFileSync(path, "postgres://u:p@h/db\n");
  expect(load(null, { env: { EMCACHE_DATABASE__POSTGRES__URI_FILE: path } }).database.postgres.uri).toBe(
    "postgres://u:p@h/db",
  );
  writeFileSync(path, "mongodb://u:p@h/db\n");
  expect(load(null, { env: { EMCACHE_SOURCES__MAIN__URI_FILE: path } }).sources["main"]?.uri).toBe(
    "mongodb://u:p@h/db",
  );
  const env = {
    EMCACHE_DATABASE__POSTGRES__URI_FILE: path,
    EMCACHE_DATABASE__POSTGRES__URI: "embedded",
    EMCACHE_SOURCES__MAIN__URI_FILE: join(cwd, "absent"),
    EMCACHE_SERVER__HOST_FILE: path,
  };
  expect(mistakesOf(null, { env })).toEqual([
    "EMCACHE_DATABASE__POSTGRES__URI_FILE: EMCACHE_DATABASE__POSTGRES__URI is set too; set one of them",
    expect.stringMatching(/^EMCACHE_SERVER__HOST_FILE: unknown variable/),
    expect.stringMatching(/^EMCACHE_SOURCES__MAIN__URI_FILE: can't be read/),
  ]);
});

test("RUST_LOG sets the level over the file, under EMCACHE_LOGGING__LEVEL, and is ignored where it isn't for us", () => {
  const toml = '[logging]\nlevel = "warn"';
  expect(load(toml, { env: { RUST_LOG: "debug" } }).logging.level).toBe("debug");
  expect(load(toml, { env: { RUST_LOG: "debug", EMCACHE_LOGGING__LEVEL: "error" } }).logging.level).toBe("error");
  expect(load(toml, { env: { RUST_LOG: "hyper,h2[span]=debug" } }).logging.level).toBe("warn");
});

test("min_connections that nobody wrote follows a low max_connections", () => {
  const { postgres } = load(null, { env: { EMCACHE_DATABASE__POSTGRES__MAX_CONNECTIONS: "3" } }).database;
  expect([postgres.minConnections, postgres.maxConnections]).toEqual([3, 3]);
});

test("the database of a source: given, from the URI's path, or the source's name with embedded", () => {
  const toml = `
[sources.a]
uri = "mongodb+srv://u:p@h.example/my%20db?authSource=admin"
database = "given"
[sources.b]
uri = "mongodb://h1:1,h2:2/from-uri?replicaSet=rs"
[sources.c]
uri = "embedded"
`;
  expect(Object.values(load(toml).sources).map(({ database }) => database)).toEqual(["given", "from-uri", "c"]);
});

test("is never shown with its passwords", () => {
  const config = load(BRIEF.replace("mongodb://", "mongodb://app:hunter2@"));
  const shown = JSON.stringify(redactConfig(config));
  expect(JSON.stringify(config)).toContain("hunter2");
  expect(shown).not.toMatch(/hunter2|postgres:password/);
  expect(shown).toContain("mongodb://app:***@localhost:27017/myapp");
});

test("object storage is configured by its bucket, and its secret is never shown", () => {
  expect(load("").snapshot.store).toBeNull();
  const config = load(
    '[snapshot]\nschedule = "0 3 * * *"\n[snapshot.store]\nbucket = "b1"\nendpoint = "http://localhost:9000"\naccess_key_id = "k"\npresign = true\n',
    { env: { EMCACHE_SNAPSHOT__STORE__SECRET_ACCESS_KEY: "hush", EMCACHE_SNAPSHOT__STORE__PATH_STYLE: "false" } },
  );
  expect(config.snapshot).toMatchObject({ schedule: "0 3 * * *", keepAgeS: 86_400 });
  expect(config.snapshot.store).toEqual({
    bucket: "b1",
    endpoint: "http://localhost:9000",
    prefix: "emcache/",
    region: "us-east-1",
    credentials: { accessKeyId: "k", secretAccessKey: "hush" },
    isPathStyle: false,
    presigns: true,
    presignExpiryS: 3_600,
  });
  expect(JSON.stringify(redactConfig(config))).not.toContain("hush");
  expect(() => load('[snapshot]\nschedule = "daily"\n')).toThrow(
    expect.objectContaining({ errors: [expect.stringMatching(/snapshot\.schedule: "daily" is no cron expression/)] }),
  );
});
