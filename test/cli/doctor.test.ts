import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { MongoClient, Timestamp } from "mongodb";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevMongo } from "../../packages/dev-mongo/src/dev-mongo.ts";
import { freePort } from "../support/free-port.ts";
import { SecantusServer } from "../support/secantus.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { startTestPostgres, type TestPostgres } from "../support/test-postgres.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { runEmcache } from "./run-emcache.ts";
import { shownOutputs } from "./shown-outputs.ts";

/** A new user's path: what `emcache doctor` says of each thing that is not right yet. */
interface Check {
  readonly part: string;
  readonly check: string;
  readonly status: "ok" | "warn" | "fail";
  readonly message: string;
  readonly fix: string | null;
}

interface Visit {
  readonly exitCode: number | null;
  readonly checks: readonly Check[];
  /** Status, check and message of a part's lines, and their fix. */
  said(part: string): string;
}

const folder = useTestFolder("doctor");
let postgres: TestPostgres;
let postgresUri: string;
let visits = 0;

beforeAll(async () => {
  postgres = await startTestPostgres();
  postgresUri = await postgres.newDatabase();
});
afterAll(() => postgres.stop());

async function doctor(settings: Readonly<Record<string, string>>): Promise<Visit> {
  const cwd = join(folder, `visit-${++visits}`);
  mkdirSync(cwd);
  const all = { "database.postgres.uri": postgresUri, "server.port": "0", ...settings };
  const flags = Object.entries(all).flatMap(([key, value]) => [`--${key}`, value]);
  const { exitCode, out, err } = await runEmcache(["doctor", "--json", ...flags], { cwd });
  expect(err).toBe("");
  const { checks } = JSON.parse(out) as { checks: Check[] };
  const said = (part: string): string =>
    checks
      .filter((line) => line.part === part)
      .map(({ status, check, message, fix }) => `${status} ${check}: ${message}${fix === null ? "" : ` | ${fix}`}`)
      .join("\n");
  return { exitCode, checks, said };
}

/** A document, and an oplog that tells of 36 hours. */
async function fillOplog(server: DevMongo): Promise<void> {
  const client = await MongoClient.connect(server.uri);
  await client.db("shop").collection("orders").insertOne({ a: 1 });
  const ts = (seconds: number): { ts: Timestamp } => ({ ts: new Timestamp({ t: seconds, i: 1 }) });
  const entries = [ts(1_700_000_000), ts(1_700_000_000 + 36 * 3600)];
  await client.db("local").collection("oplog.rs").insertMany(entries);
  await client.close();
}

const source = (uri: string): Record<string, string> => ({
  "sources.main.uri": uri,
  "sources.main.database": "shop",
});

describe("the source", () => {
  test("a URI where nothing listens, one whose host is unknown, and one that is none", async () => {
    const port = await freePort();
    const visit = await doctor(source(`mongodb://u:hunter2@127.0.0.1:${port}/`));
    expect(visit.exitCode).toBe(1);
    expect(visit.said("source main")).toMatch(/^fail connection: no server can be reached: .*ECONNREFUSED/);
    expect(visit.said("source main")).toContain("start MongoDB, or correct host and port in sources.main.uri");
    expect(JSON.stringify(visit.checks)).not.toContain("hunter2");
    const unknown = await doctor(source("mongodb://nowhere.invalid:27017/"));
    expect(unknown.said("source main")).toMatch(/ENOTFOUND|EAI_AGAIN/);
    expect(unknown.said("source main")).toContain("host's name is not known");
    const wrong = await runEmcache(["doctor", "--sources.main.uri", "localhost:27017"], { cwd: folder });
    expect(wrong).toMatchObject({ exitCode: 2, err: expect.stringMatching(/config_invalid.*\n.*sources\.main\.uri/) });
  });

  test.each(["SecantusDB", "dev-mongo"])("a standalone server (%s)", async (kind) => {
    const server =
      kind === "dev-mongo"
        ? await DevMongo.start({ standalone: true })
        : await SecantusServer.start({ folder, standalone: true });
    try {
      const visit = await doctor(source(server.uri));
      expect(visit.exitCode).toBe(1);
      expect(visit.said("source main")).toMatch(
        /fail topology: it is a standalone server: those have no change streams/,
      );
      expect(visit.said("source main")).toContain("--replSet rs0");
      expect(visit.said("source main")).toContain("rs.initiate()");
      // The URI of a replica set leads to the same words, where the driver itself only says "selection timed out".
      const asSet = await doctor(source(server.uri.replace(/\/(?:\?.*)?$/, "/?replicaSet=rs0")));
      expect(asSet.said("source main")).toMatch(/fail connection: it is a standalone server/);
    } finally {
      await server.stop();
    }
  });

  test("the name of another replica set", async () => {
    const server = await DevMongo.start();
    try {
      const visit = await doctor(source(server.uri.replace("replicaSet=dev", "replicaSet=prod")));
      expect(visit.said("source main")).toMatch(/the server belongs to the replica set dev, the URI asks for prod/);
      expect(visit.said("source main")).toContain("Write replicaSet=dev");
    } finally {
      await server.stop();
    }
  });

  test("a set that has no primary, and one whose members are named by what this machine can't reach", async () => {
    const server = await DevMongo.start();
    const inside = await DevMongo.start({ advertisedHost: "mongo.invalid" });
    try {
      server.faults.stepDown(600_000);
      const [headless, named] = await Promise.all([doctor(source(server.uri)), doctor(source(inside.uri))]);
      expect(headless.said("source main")).toMatch(
        /fail connection: the replica set dev answers, but has no primary now/,
      );
      expect(named.said("source main")).toMatch(
        /fail connection: the server answers, but its replica set names its members mongo\.invalid:\d+, which this machine/,
      );
      expect(named.said("source main")).toContain("directConnection=true");
    } finally {
      await Promise.all([server.stop(), inside.stop()]);
    }
  });

  test("a missing right is named with what grants it; one source's trouble is not another's", async () => {
    const [closed, open] = [await DevMongo.start(), await DevMongo.start()];
    try {
      const times = Infinity;
      closed.faults.failCommands({ commands: ["aggregate"], code: 13, message: "not authorized on shop", times });
      closed.faults.failCommands({ collection: "oplog.rs", code: 13, message: "not authorized on local", times });
      await fillOplog(open);
      const other = { "sources.other.uri": open.uri, "sources.other.database": "shop" };
      const visit = await doctor({ ...source(closed.uri), ...other });
      expect(visit.exitCode).toBe(1);
      expect(visit.said("source main")).toMatch(
        /fail privileges: the server wants a user: without one, changeStream on database shop are refused \| Write user/,
      );
      expect(visit.said("source main")).toMatch(/warn oplog window: this user may not see it; EMCache works without/);
      expect(visit.said("source other")).toMatch(
        /ok privileges: listCollections, find and changeStream on database shop/,
      );
      expect(visit.said("source other")).toMatch(/ok oplog window: 36 hours/);
      expect(visit.said("source other")).toMatch(/ok version: version 8/);
      expect(visit.said("source other")).toMatch(/ok clock/);
      expect(visit.said("source other")).not.toMatch(/fail|warn/);
    } finally {
      await Promise.all([closed.stop(), open.stop()]);
    }
  });

  test("SecantusDB is found fit; an empty database is told", async () => {
    const server = await SecantusServer.start({ folder });
    try {
      const visit = await doctor(source(server.uri));
      expect(visit.said("source main")).not.toContain("fail");
      expect(visit.said("source main")).toContain("warn database: the database shop has no collection yet");
      expect(visit.exitCode).toBe(0);
    } finally {
      await server.stop();
    }
  });

  test("servers that accept a connection and say nothing: doctor ends all the same", async () => {
    const silent: Server = createServer(() => undefined);
    const port = await new Promise<number>((resolve) => {
      silent.listen(0, "127.0.0.1", () => resolve((silent.address() as { port: number }).port));
    });
    try {
      const visit = await doctor({
        ...source(`mongodb://127.0.0.1:${port}/`),
        "database.postgres.uri": `postgres://u@127.0.0.1:${port}/x`,
      });
      expect(visit.exitCode).toBe(1);
      expect(visit.said("source main")).toMatch(/^fail connection/);
      expect(visit.said("PostgreSQL")).toMatch(/^fail connection: no connection: .*timeout/);
    } finally {
      silent.close();
    }
  });
});

describe("PostgreSQL", () => {
  async function administrate(sql: string): Promise<void> {
    const client = new pg.Client({ connectionString: postgresUri });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  }

  test("a right one, and each thing that is wrong with another one", async () => {
    expect((await doctor({})).said("PostgreSQL").replaceAll(/ [^:]*:.*/g, "")).toBe("ok\n".repeat(6).trim());
    const absent = new URL(postgresUri);
    absent.pathname = "/absent";
    const noDatabase = await doctor({ "database.postgres.uri": absent.href });
    expect(noDatabase.exitCode).toBe(1);
    expect(noDatabase.said("PostgreSQL")).toMatch(
      /fail connection: .*"absent" does not exist \(3D000\) \| Create it: createdb/,
    );
    const refused = await doctor({ "database.postgres.uri": `postgres://u@127.0.0.1:${await freePort()}/x` });
    expect(refused.said("PostgreSQL")).toMatch(
      /fail connection: .*ECONNREFUSED.* \| Nothing listens there: start PostgreSQL/,
    );
  });

  test("a user that may make no schema, and a database that is read-only", async () => {
    await administrate("CREATE ROLE doctor_reader LOGIN; ALTER ROLE doctor_reader SET search_path = public");
    const asReader = new URL(postgresUri);
    asReader.username = "doctor_reader";
    const visit = await doctor({ "database.postgres.uri": asReader.href });
    expect(visit.exitCode).toBe(1);
    expect(visit.said("PostgreSQL")).toMatch(
      /fail privileges: the user doctor_reader can't make the schema emcache: permission denied/,
    );
    expect(visit.said("PostgreSQL")).toContain('GRANT CREATE ON DATABASE "');
    await administrate("ALTER ROLE doctor_reader SET default_transaction_read_only = on");
    expect((await doctor({ "database.postgres.uri": asReader.href })).said("PostgreSQL")).toMatch(
      /fail writable: it is set to be read-only/,
    );
    await administrate("DROP ROLE doctor_reader");
  });

  test("the embedded one is tried, and leaves nothing", async () => {
    const visit = await doctor({ "database.postgres.uri": "embedded" });
    expect(visit.said("PostgreSQL")).toMatch(/ok start: a trial server started and answered/);
    const dataDir = join(folder, "other-version");
    mkdirSync(join(dataDir, "postgres"), { recursive: true });
    writeFileSync(join(dataDir, "postgres", "PG_VERSION"), "18\n");
    expect((await doctor({ "database.postgres.uri": "embedded", data_dir: dataDir })).said("PostgreSQL")).toContain(
      "it holds data of PostgreSQL 18",
    );
  });
});

describe("disks", () => {
  test("a path that is a file", async () => {
    const file = join(folder, "a-file");
    writeFileSync(file, "");
    const visit = await doctor({ "cache.base_dir": join(file, "caches"), data_dir: file });
    expect(visit.exitCode).toBe(1);
    expect(visit.said("cache.base_dir")).toMatch(/fail writable: \S+a-file is a file, not a directory/);
    expect(visit.said("data_dir")).toMatch(/set data_dir to another path/);
  });

  test("a full disk, and one that is read-only", async ({ skip }) => {
    const disk = SmallDisk.mount(join(folder, "small"));
    if (typeof disk === "string") return skip(disk);
    try {
      disk.fill();
      const visit = await doctor({ "cache.base_dir": join(disk.path, "caches") });
      expect(visit.exitCode).toBe(1);
      expect(visit.said("cache.base_dir")).toMatch(/fail writable: .*(?:ENOSPC|disk is full|disk I\/O error)/);
      expect(visit.said("cache.base_dir")).toMatch(/fail space: 0 MiB of 64 MiB free/);
      expect(visit.said("cache.base_dir")).toContain(`Free space on the disk of ${disk.path}`);
      disk.free();
      disk.setReadOnly(true);
      const readOnly = await doctor({ "cache.base_dir": join(disk.path, "caches") });
      expect(readOnly.said("cache.base_dir")).toMatch(
        /fail writable: .*EROFS.* \| The file system is mounted read-only/,
      );
    } finally {
      disk.unmount();
    }
  });
});

test("what the quick start shows is what doctor says", async ({ skip }) => {
  const shown = shownOutputs("doctor");
  const cwd = join(folder, "quick-start");
  mkdirSync(cwd);
  /** Lines that it prints, with the names and numbers of the document. */
  const said = async (uri: string, baseDir = "caches"): Promise<string[]> => {
    writeFileSync(join(cwd, "config.toml"), `[sources.main]\nuri = "${uri}"\n`);
    const flags = ["--database.postgres.uri", postgresUri, "--port", "0", "--cache.base_dir", baseDir];
    const { out } = await runEmcache(["doctor", ...flags], { cwd });
    return out
      .replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:27017")
      .replaceAll(baseDir, "/srv/emcache")
      .replaceAll("replica set dev", "replica set rs0")
      .split("\n");
  };
  const expectShown = (name: string, lines: readonly string[]): void => {
    expect(lines).toEqual(expect.arrayContaining(shown.get(name) ?? ["nothing is shown"]));
    shown.delete(name);
  };
  const uriOf = (server: DevMongo): string => server.uri.replace(/\/(?:\?.*)?$/, "/shop");
  expectShown("wrong URI", await said(`mongodb://127.0.0.1:${await freePort()}/shop`));
  const standalone = await DevMongo.start({ standalone: true });
  const closed = await DevMongo.start();
  const well = await DevMongo.start();
  try {
    expectShown("standalone", await said(uriOf(standalone)));
    closed.faults.failCommands({ commands: ["aggregate"], code: 13, times: Infinity });
    expectShown("missing right", await said(uriOf(closed)));
    await fillOplog(well);
    expectShown("well", await said(uriOf(well)));
    const disk = SmallDisk.mount(join(folder, "no-room"));
    if (typeof disk === "string") return skip(disk);
    try {
      disk.fill();
      expectShown("no disk", await said(uriOf(well), disk.path));
    } finally {
      disk.unmount();
    }
  } finally {
    await Promise.all([standalone, closed, well].map((server) => server.stop()));
  }
  expect([...shown.keys()]).toEqual([]);
});

test("the port of another program; text for people, with a fix below each failure", async () => {
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
  const { exitCode, out, err } = await runEmcache(
    ["doctor", "--database.postgres.uri", postgresUri, "--port", String(port)],
    { cwd: folder },
  );
  server.close();
  expect({ exitCode, err }).toEqual({ exitCode: 1, err: "" });
  expect(out).toContain(
    `fail  API: port: another program has 127.0.0.1:${port}\n      Fix: Set server.port to another one`,
  );
  expect(out).toContain("warn  sources: configuration: none is configured");
  expect(out).toMatch(/\n1 failed, 1 warning, \d+ ok: emcache serve would not do all of its work\.\n$/);
});
