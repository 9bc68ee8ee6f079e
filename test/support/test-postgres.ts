import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { EmbeddedPostgres } from "../../packages/server/src/oplog/embedded-postgres.ts";
import { createLogger } from "../../packages/server/src/runtime/logger.ts";

/** A PostgreSQL server for tests. */
export interface TestPostgres {
  /** URI of the server's maintenance database. */
  readonly uri: string;
  /** Makes a fresh, empty database and gives its URI. */
  newDatabase(): Promise<string>;
  /** Ends the server, or drops the databases that were made on a given one. */
  stop(): Promise<void>;
}

/**
 * Starts a throw-away embedded server, or uses the one that `EMCACHE_TEST_POSTGRES_URI` names (a user that may create
 * databases). A test file calls it once and takes a database of its own for each case.
 */
export async function startTestPostgres(): Promise<TestPostgres> {
  const given = process.env["EMCACHE_TEST_POSTGRES_URI"];
  if (given !== undefined && given !== "") return onServer(given, async () => undefined);
  const dataDir = await mkdtemp(join(tmpdir(), "emcache-pg-"));
  // mkdtemp makes it ours alone; the server's user must be able to pass.
  await chmod(dataDir, 0o711);
  const logger = createLogger({ level: "warn" });
  const embedded = new EmbeddedPostgres({ dataDir, connectionsMax: 100, logger });
  await embedded.start(AbortSignal.timeout(60_000));
  const { host, port, user, database } = embedded.connection;
  return onServer(`postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`, async () => {
    // At once: nothing of it is kept.
    await embedded.stop(AbortSignal.abort());
    await rm(dataDir, { recursive: true, force: true });
  });
}

function onServer(uri: string, end: () => Promise<void>): TestPostgres {
  const made: string[] = [];
  return {
    uri,
    async newDatabase() {
      const name = `emcache_test_${randomBytes(6).toString("hex")}`;
      await administrate(uri, `CREATE DATABASE ${name} ENCODING 'UTF8' TEMPLATE template0`);
      made.push(name);
      const own = new URL(uri);
      own.pathname = `/${name}`;
      return own.href;
    },
    async stop() {
      if (process.env["EMCACHE_TEST_POSTGRES_URI"] !== undefined) {
        for (const name of made) await administrate(uri, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      }
      await end();
    },
  };
}

async function administrate(uri: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
