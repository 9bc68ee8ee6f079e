import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../../../../test/support/eventually.ts";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { ComponentHealth } from "../runtime/component-health.ts";
import { Postgres } from "./postgres.ts";
import { testLogger, testSignal } from "./testing/log-fixture.ts";
import { startTcpProxy } from "./testing/tcp-proxy.ts";

let server: TestPostgres;

beforeAll(async () => {
  server = await startTestPostgres();
});

afterAll(async () => {
  await server.stop();
});

test("connections that break while others are still being opened end no process", async () => {
  const uri = await server.newDatabase();
  const proxy = await startTcpProxy(uri);
  let openedCount = 0;
  // The third one stays on its way, so the first two are open and not yet in use.
  proxy.decide = (piece) => (isStartup(piece) && ++openedCount === 3 ? "pause" : "forward");
  const postgres = new Postgres({
    uri: proxy.uri,
    dataDir: "/nonexistent",
    minConnections: 3,
    maxConnections: 5,
    connectionTimeoutS: 20,
    logger: testLogger,
    health: new ComponentHealth("postgres"),
  });
  const admin = new pg.Client({ connectionString: uri });
  await admin.connect();
  try {
    const starting = postgres.start();
    const broken = await eventually(
      async () => {
        const { rows } = await admin.query<{ pid: number }>(
          "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle'",
          [postgres.applicationName],
        );
        return openedCount === 3 && rows.length === 2 ? rows : null;
      },
      20_000,
      "two connections are open, the third is not",
    );
    for (const { pid } of broken) await admin.query("SELECT pg_terminate_backend($1)", [pid]);
    await eventually(
      async () => (await admin.query("SELECT 1 FROM pg_stat_activity WHERE state = 'idle'")).rowCount === 0,
      20_000,
      "both are gone",
    );
    proxy.deliverHeld();
    await starting;
    await postgres.ready(testSignal());
    expect((await postgres.pool.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  } finally {
    await admin.end();
    await postgres.stop(testSignal());
    await proxy.stop();
  }
});

/** A connection's first message: its length, then protocol 3 (PostgreSQL manual, "Message Formats"). */
function isStartup(piece: Buffer): boolean {
  return piece.length >= 8 && piece.readInt32BE(0) === piece.length && piece.readInt32BE(4) === 196_608;
}
