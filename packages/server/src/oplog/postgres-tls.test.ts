import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeCertificate } from "../api/testing/test-certificate.ts";
import { ComponentHealth } from "../runtime/component-health.ts";
import { freePort } from "../../../../test/support/free-port.ts";
import { embeddedBinaries } from "./embedded-binaries.ts";
import { openTokenStore } from "./open-token-store.ts";
import { Postgres } from "./postgres.ts";
import { serverUser } from "./server-user.ts";
import { testLogger, testSignal, until } from "./testing/log-fixture.ts";

/** A PostgreSQL that speaks TLS only, on a port of its own. */
const folder = mkdtempSync(join(tmpdir(), "emcache-pgtls-"));
const data = join(folder, "data");
const certificate = makeCertificate(folder, "postgres");
const other = makeCertificate(folder, "other");
let server: ChildProcess;
let port: number;

beforeAll(async () => {
  chmodSync(folder, 0o755);
  const user = await serverUser();
  const { initdb, postgres } = await embeddedBinaries(folder, user);
  port = await freePort();
  const mine = (path: string): void => {
    chmodSync(path, 0o600);
    if (user !== null) chownSync(path, user.uid, user.gid);
  };
  execFileSync("mkdir", ["-m", "700", data]);
  if (user !== null) chownSync(data, user.uid, user.gid);
  execFileSync(initdb, [`--pgdata=${data}`, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"], {
    ...user,
    cwd: data,
    stdio: "ignore",
  });
  for (const [from, name] of [
    [certificate.cert, "server.crt"],
    [certificate.key, "server.key"],
  ] as const) {
    copyFileSync(from, join(data, name));
    mine(join(data, name));
  }
  writeFileSync(join(data, "pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n");
  const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: "", port, ssl: "on", fsync: "off" };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  server = spawn(postgres, ["-D", data, ...flags], { ...user, cwd: data, stdio: "ignore" });
}, 120_000);
afterAll(async () => {
  const ended = new Promise((resolve) => void server.once("exit", resolve));
  server.kill("SIGQUIT");
  await ended;
  rmSync(folder, { recursive: true, force: true });
});

function uri(query: string): string {
  return `postgresql://postgres@localhost:${port}/postgres${query}`;
}

function connect(query: string, health = new ComponentHealth("postgres")): Postgres {
  return new Postgres({
    uri: uri(query),
    dataDir: "/nonexistent",
    minConnections: 1,
    maxConnections: 4,
    connectionTimeoutS: 10,
    logger: testLogger,
    health,
  });
}

test("sslmode=verify-full in the URI holds for the pool, for own connections, for the worker's and for commands", async () => {
  const query = `?sslmode=verify-full&sslrootcert=${encodeURIComponent(certificate.cert)}`;
  const postgres = connect(query);
  await postgres.start();
  await postgres.ready(testSignal());
  const ssl = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  expect((await postgres.pool.query(ssl)).rows).toEqual([
    { ssl: true, version: expect.stringMatching(/^TLSv1\.[23]$/) },
  ]);
  const own = postgres.newClient();
  await own.connect();
  expect((await own.query(ssl)).rows).toMatchObject([{ ssl: true }]);
  await own.end();
  // What the replicating thread is given is plain data.
  expect(structuredClone(postgres.connection)).toEqual(postgres.connection);
  const options = { dataDir: "/nonexistent", maxConnections: 2, connectionTimeoutS: 10, logger: testLogger };
  const opened = await openTokenStore({ uri: uri(query), ...options });
  expect(await opened.store.list(testSignal())).toEqual([]);
  await opened.close();
  await postgres.stop(AbortSignal.timeout(5_000));
});

test.each([
  ["without TLS", "", /no pg_hba.conf entry|no encryption/],
  [
    "a certificate of nobody we trust",
    `?sslmode=verify-full&sslrootcert=${encodeURIComponent(other.cert)}`,
    /certificate/,
  ],
  ["a certificate that the system doesn't know", "?sslmode=verify-full", /certificate/],
])("%s there is no connection, and /health says why", async (_what, query, words) => {
  const health = new ComponentHealth("postgres");
  const postgres = connect(query, health);
  await postgres.start();
  await until(() => health.state().reason !== "starting");
  expect(health.state()).toMatchObject({
    status: "degraded",
    code: "postgres_unavailable",
    reason: expect.stringMatching(words),
  });
  await postgres.stop(AbortSignal.timeout(5_000));
});
