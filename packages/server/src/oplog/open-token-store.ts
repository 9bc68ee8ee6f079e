import pg from "pg";
import { EmcacheError } from "@emcache/protocol";
import { ComponentHealth } from "../runtime/component-health.ts";
import type { Logger } from "../runtime/logger.ts";
import { notifyRegistryChange } from "./commit-signal.ts";
import { EmbeddedPostgres } from "./embedded-postgres.ts";
import { Postgres, type PostgresOptions } from "./postgres.ts";
import { TokenStore } from "./token-store.ts";

/** A first start of an embedded PostgreSQL initialises it. */
const READY_TIMEOUT_MS = 60_000;

/** The tokens, for a command beside or without a running server. */
export interface OpenTokenStore {
  readonly store: TokenStore;
  /** Tells running processes what changed, and ends what was started. */
  close(): Promise<void>;
}

export interface OpenTokenStoreOptions extends Pick<
  PostgresOptions,
  "uri" | "dataDir" | "maxConnections" | "connectionTimeoutS"
> {
  readonly logger: Logger;
}

/**
 * Opens the tokens in PostgreSQL as the configuration names it. Where a server of ours runs there, it is asked beside
 * it, an embedded one through its socket; where none has run yet, the schema is made, and an embedded one is started
 * for so long.
 *
 * @throws EmcacheError `postgres_unavailable`, `embedded_postgres_failed` and others
 */
export async function openTokenStore(options: OpenTokenStoreOptions): Promise<OpenTokenStore> {
  const { uri, dataDir, maxConnections, connectionTimeoutS, logger } = options;
  const isEmbedded = uri === "embedded";
  const pool = new pg.Pool({
    ...(isEmbedded
      ? new EmbeddedPostgres({ dataDir, connectionsMax: maxConnections, logger }).connection
      : { connectionString: uri }),
    max: 1,
    connectionTimeoutMillis: connectionTimeoutS * 1000,
  });
  if (await hasTokens(pool, isEmbedded)) return opened(pool, () => pool.end());
  await pool.end();
  const health = new ComponentHealth("postgres");
  const postgres = new Postgres({
    uri,
    dataDir,
    minConnections: 0,
    maxConnections: Math.max(2, maxConnections),
    connectionTimeoutS,
    logger,
    health,
  });
  const stop = (): Promise<void> => postgres.stop(AbortSignal.timeout(READY_TIMEOUT_MS));
  try {
    await postgres.start();
    const { status, code, reason } = health.state();
    // Waiting until it comes is for servers; a command says what is wrong.
    if (status === "degraded" && reason !== "starting") {
      throw new EmcacheError(code === "embedded_postgres_failed" ? code : "postgres_unavailable", reason ?? "");
    }
    await postgres.ready(AbortSignal.timeout(READY_TIMEOUT_MS));
    return opened(postgres.pool, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

function opened(pool: pg.Pool, end: () => Promise<void>): OpenTokenStore {
  let isChanged = false;
  return {
    store: new TokenStore({ pool, onChange: () => (isChanged = true) }),
    async close() {
      // Whoever misses it looks by itself within seconds.
      if (isChanged) await notifyRegistryChange(pool).catch(() => undefined);
      await end();
    },
  };
}

/** Whether a server answers that has the table. */
async function hasTokens(pool: pg.Pool, isEmbedded: boolean): Promise<boolean> {
  try {
    const { rows } = await pool.query<{ found: boolean }>(
      "SELECT to_regclass('emcache.access_token') IS NOT NULL AS found",
    );
    return rows[0]?.found === true;
  } catch (error) {
    if (isEmbedded) return false;
    throw new EmcacheError("postgres_unavailable", `PostgreSQL: ${error instanceof Error ? error.message : ""}`, {
      cause: error,
    });
  }
}
