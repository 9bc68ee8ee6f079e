import { randomBytes } from "node:crypto";
import pg from "pg";

/** A PostgreSQL database that one test has for itself. */
export interface OplogDatabase {
  readonly uri: string;
  drop(): Promise<void>;
}

/** A new database on the server of `EMCACHE_TEST_POSTGRES_URI`; null without it: the tests then use the embedded one. */
export async function makeOplogDatabase(): Promise<OplogDatabase | null> {
  const server = process.env["EMCACHE_TEST_POSTGRES_URI"];
  if (server === undefined || server === "") return null;
  const name = `emcache_test_${randomBytes(4).toString("hex")}`;
  await query(server, `CREATE DATABASE ${name}`);
  const uri = new URL(server);
  uri.pathname = `/${name}`;
  return { uri: uri.href, drop: () => query(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

async function query(uri: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}
