import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, cp, mkdir, mkdtemp, readFile, readdir, realpath, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogger } from "../runtime/logger.ts";
import { ComponentHealth } from "../runtime/component-health.ts";
import { embeddedBinaries } from "./embedded-binaries.ts";
import { EmbeddedPostgres } from "./embedded-postgres.ts";
import { Postgres } from "./postgres.ts";
import { serverUser } from "./server-user.ts";
import { testLogger, testSignal, until } from "./testing/log-fixture.ts";

let folder: string;
let dataDir: string;
const children: ChildProcess[] = [];
const servers: EmbeddedPostgres[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "emcache-embedded-"));
  dataDir = folder;
  await chmod(dataDir, 0o711);
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const embedded of servers.splice(0)) await embedded.stop(AbortSignal.abort());
  await rm(folder, { recursive: true, force: true });
});

function newServer(): EmbeddedPostgres {
  const embedded = new EmbeddedPostgres({ dataDir, connectionsMax: 10, logger: testLogger });
  servers.push(embedded);
  return embedded;
}

async function query(embedded: EmbeddedPostgres, sql: string): Promise<unknown[]> {
  const client = new pg.Client(embedded.connection);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function startProcess(): Promise<ChildProcess> {
  const script = fileURLToPath(new URL("./testing/embedded-process.ts", import.meta.url));
  const child = spawn(process.execPath, [script, dataDir], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  await once(child.stdout as NodeJS.EventEmitter, "data");
  return child;
}

test("it keeps its data over a stop and a start", async () => {
  const first = newServer();
  await first.start(testSignal());
  await query(first, "CREATE TABLE kept AS SELECT 1 AS value");
  await first.stop(AbortSignal.timeout(10_000));
  expect(first.isRunning).toBe(false);
  const second = newServer();
  await second.start(testSignal());
  expect(await query(second, "SELECT value FROM kept")).toEqual([{ value: 1 }]);
}, 60_000);

test("a server that outlived its killed process is stopped, and its data is there", async () => {
  const child = await startProcess();
  const orphan = newServer();
  await query(orphan, "CREATE TABLE kept AS SELECT 1 AS value");
  child.kill("SIGKILL");
  await once(child, "exit");
  // It lives on.
  expect(await query(orphan, "SELECT value FROM kept")).toEqual([{ value: 1 }]);
  const startedAt = "SELECT pg_postmaster_start_time() AS time";
  const before = await query(orphan, startedAt);
  await orphan.start(testSignal());
  expect(await query(orphan, startedAt)).not.toEqual(before);
  expect(await query(orphan, "SELECT value FROM kept")).toEqual([{ value: 1 }]);
}, 60_000);

test("a second process with the same data directory is told so", async () => {
  const child = await startProcess();
  const second = newServer();
  await expect(second.start(testSignal())).rejects.toMatchObject({
    code: "embedded_postgres_failed",
    message: expect.stringContaining("another EMCache process"),
  });
  expect(await query(second, "SELECT 1 AS value")).toEqual([{ value: 1 }]);
  child.kill("SIGKILL");
  await once(child, "exit");
  await second.start(testSignal());
}, 60_000);

test("a stale postmaster.pid doesn't matter, even where another program has the number", async () => {
  const first = newServer();
  await first.start(testSignal());
  const pidFile = join(dataDir, "postgres", "postmaster.pid");
  const text = await readFile(pidFile, "utf8");
  await first.stop(AbortSignal.timeout(10_000));
  const user = await serverUser();
  const foreign = spawn("sleep", ["60"], { stdio: "ignore", ...user });
  children.push(foreign);
  for (const pid of [foreign.pid, 4_194_000]) {
    await writeFile(pidFile, text.replace(/^\d+/, String(pid)), { mode: 0o600 });
    const embedded = newServer();
    await embedded.start(testSignal());
    await embedded.stop(AbortSignal.timeout(10_000));
  }
  expect(foreign.exitCode).toBeNull();
}, 60_000);

test("a data directory of a newer major version, and one that can't be entered, are told in words", async () => {
  const first = newServer();
  await first.start(testSignal());
  await first.stop(AbortSignal.timeout(10_000));
  await writeFile(join(dataDir, "postgres", "PG_VERSION"), "99\n");
  const second = newServer();
  await expect(second.start(testSignal())).rejects.toMatchObject({ message: expect.stringContaining("PostgreSQL 99") });
  await second.stop(AbortSignal.abort());
  if (process.getuid?.() !== 0) return;
  await chmod(dataDir, 0o700);
  await expect(newServer().start(testSignal())).rejects.toMatchObject({
    message: expect.stringContaining("may not enter"),
  });
}, 60_000);

test("a data directory of an older major version whose programs are gone is set aside, and its entities are made anew", async () => {
  await mkdir(join(dataDir, "postgres"), { mode: 0o700 });
  // A version of which nobody has programs.
  await writeFile(join(dataDir, "postgres", "PG_VERSION"), "8\n");
  await writeFile(join(dataDir, "postgres", "kept"), "kept");
  const lines: string[] = [];
  const logger = createLogger({ level: "warn", destination: { write: (line: string) => void lines.push(line) } });
  const shape = { id_column: { path: "$._id", type: "string" as const }, columns: [], indexes: [] };
  const definition = { name: "users", client: "main", source: "users", shape };
  const newPostgres = () =>
    new Postgres({
      uri: "embedded",
      dataDir,
      minConnections: 1,
      maxConnections: 5,
      connectionTimeoutS: 5,
      logger,
      health: new ComponentHealth("postgres"),
      definitions: () => [definition],
    });
  for (const round of ["set aside", "as usual"]) {
    const postgres = newPostgres();
    await postgres.start();
    await postgres.ready(testSignal());
    const { rows } = await postgres.pool.query("SELECT name, state FROM emcache.entity_version");
    expect(rows, round).toEqual([{ name: "users", state: "pending" }]);
    await postgres.stop(AbortSignal.timeout(10_000));
  }
  const asides = (await readdir(dataDir)).filter((name) => name.includes("set-aside"));
  expect(asides).toEqual([expect.stringMatching(/^postgres\.set-aside-8-\d{8}T\d{6}Z$/)]);
  expect(await readFile(join(dataDir, asides[0] ?? "", "kept"), "utf8")).toBe("kept");
  const told = lines.filter((line) => line.includes("embedded_postgres_set_aside"));
  expect(told).toEqual([expect.stringContaining(asides[0] ?? "")]);
}, 60_000);

test("a data directory of an older major version stays on it where its programs are", async (context) => {
  const versions = await readdir("/usr/lib/postgresql").catch(() => []);
  const user = await serverUser();
  const own = await embeddedBinaries(dataDir, user);
  const older = versions.find((version) => Number(version) >= 13 && Number(version) < Number(own.majorVersion));
  // Only a machine that has an older PostgreSQL installed can show it.
  if (older === undefined) return context.skip();
  const clusterDir = join(dataDir, "postgres");
  await mkdir(clusterDir, { mode: 0o700 });
  if (user !== null) await chown(clusterDir, user.uid, user.gid);
  const flags = [`--pgdata=${clusterDir}`, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
  await promisify(execFile)(`/usr/lib/postgresql/${older}/bin/initdb`, flags, { ...user, cwd: "/" });
  for (const sql of ["CREATE TABLE kept AS SELECT 1 AS value", "SELECT 1"]) {
    const embedded = newServer();
    await embedded.start(testSignal());
    await query(embedded, sql);
    const [version] = await query(embedded, "SELECT current_setting('server_version') AS version");
    expect(version).toEqual({ version: expect.stringMatching(new RegExp(`^${older}\\.`)) });
    expect(await query(embedded, "SELECT value FROM kept")).toEqual([{ value: 1 }]);
    await embedded.stop(AbortSignal.timeout(10_000));
  }
}, 60_000);

test("root may have a data directory that nobody else can enter", async () => {
  if (process.getuid?.() !== 0) return;
  await chmod(dataDir, 0o700);
  const embedded = newServer();
  await embedded.start(testSignal());
  expect(await query(embedded, "SELECT 1 AS value")).toEqual([{ value: 1 }]);
  const place = await realpath(join(dataDir, "postgres"));
  expect(place.startsWith("/var/lib/emcache/")).toBe(true);
  await embedded.stop(AbortSignal.timeout(10_000));
  await newServer().start(testSignal());
  await servers.pop()?.stop(AbortSignal.timeout(10_000));
  await rm(dirname(place), { recursive: true });
}, 60_000);

test("a start that fails tells the server's last words", async () => {
  const first = newServer();
  await first.start(testSignal());
  await first.stop(AbortSignal.timeout(10_000));
  await writeFile(join(dataDir, "postgres", "postgresql.conf"), "no_such_setting = 1\n");
  await expect(newServer().start(testSignal())).rejects.toMatchObject({
    message: expect.stringContaining("no_such_setting"),
  });
}, 60_000);

test("a path too long for a socket is no obstacle", async () => {
  dataDir = join(dataDir, "x".repeat(100));
  const embedded = newServer();
  await embedded.start(testSignal());
  expect(embedded.connection.host.startsWith(tmpdir())).toBe(true);
  await rm(embedded.connection.host, { recursive: true, force: true });
}, 60_000);

test("programs that the server's user can't reach, or whose libraries miss their links, are made usable", async () => {
  const user = await serverUser();
  const installed = await embeddedBinaries(dataDir, user);
  expect(installed.majorVersion).toMatch(/^\d+$/);
  if (process.platform !== "linux") return;
  // An installation whose script was blocked.
  const packageDir = join(dataDir, "package");
  await mkdir(packageDir);
  await cp(join(dirname(installed.postgres), "..", "..", "package.json"), join(packageDir, "package.json"));
  await cp(join(dirname(installed.postgres), ".."), join(packageDir, "native"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  const link = join(packageDir, "native", "lib", "libpq.so.5");
  await unlink(link);
  const linked = await embeddedBinaries(dataDir, user, join(packageDir, "native"));
  await expect(readFile(link)).resolves.toBeDefined();
  expect(await versionOf(linked.postgres, user)).toContain("PostgreSQL");
  if (user === null) return;
  // And one that the server's user can't enter, like a checkout under /root.
  await chmod(packageDir, 0o700);
  const copied = await embeddedBinaries(dataDir, user, join(packageDir, "native"));
  expect(copied.postgres.startsWith(packageDir)).toBe(false);
  expect(await versionOf(copied.initdb, user)).toContain("PostgreSQL");
}, 60_000);

async function versionOf(program: string, user: object | null): Promise<string> {
  return (await promisify(execFile)(program, ["--version"], { ...user, cwd: "/" })).stdout;
}

test("an embedded server that dies is started again, and health tells of both", async () => {
  const health = new ComponentHealth("postgres");
  const postgres = new Postgres({
    uri: "embedded",
    dataDir,
    minConnections: 2,
    maxConnections: 5,
    connectionTimeoutS: 5,
    logger: testLogger,
    health,
  });
  await postgres.start();
  await postgres.ready(testSignal());
  expect(health.state().status).toBe("healthy");
  const pid = Number.parseInt(await readFile(join(dataDir, "postgres", "postmaster.pid"), "utf8"), 10);
  process.kill(pid, "SIGKILL");
  await until(() => health.state().status === "degraded");
  await until(() => health.state().status === "healthy", 30_000);
  await postgres.ready(testSignal());
  expect((await postgres.pool.query("SELECT position FROM emcache.head")).rows).toEqual([{ position: "0" }]);
  await postgres.stop(AbortSignal.timeout(10_000));
  expect(health.state().status).toBe("stopped");
}, 60_000);
