import type pg from "pg";
import { withClient } from "./with-client.ts";

/** How long the taking may be blocked before what blocks it is ended. */
const BLOCKED_MS = 1_000;

const TAKE_TIMEOUT_MS = 15_000;

const STATEMENT_TIMEOUT_MS = 5_000;

/** The lease as the taker saw it. */
export interface SeenLease {
  readonly source: string;
  readonly epoch: string;
  readonly beat: string;
  readonly holder: string;
  readonly released: boolean;
}

/**
 * Raises the lease's epoch, if nobody else did since it was seen and the holder gave no sign of life. From the commit
 * on, no append of an older epoch can commit: one that was faster holds the row `FOR SHARE` until it has.
 *
 * Whatever blocks it longer than a second is ended by `pg_terminate_backend` (a frozen append, a forgotten
 * transaction), and so are transactions that the old holder still has open: none of its appends can succeed any more,
 * but they would keep the vacuum from the rows that every append rewrites.
 *
 * @returns the new epoch; null where the lease had changed.
 */
export async function takeLease(
  postgres: { readonly pool: pg.Pool; readonly applicationName: string },
  seen: SeenLease,
  signal: AbortSignal,
): Promise<number | null> {
  const { pool, applicationName } = postgres;
  const epoch = await withClient(pool, { signal, timeoutMs: TAKE_TIMEOUT_MS }, async (client) => {
    const begun: unknown = await client.query("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_backend_pid() AS pid");
    const pid = (begun as pg.QueryResult<{ pid: number }>[])[1]?.rows[0]?.pid ?? 0;
    const taking = client.query<{ epoch: string }>(
      `UPDATE emcache.source_lease SET epoch = epoch + 1, beat = 0, holder = $4, released = false
       WHERE source = $1 AND epoch = $2 AND (beat = $3 OR released) RETURNING epoch`,
      [seen.source, seen.epoch, seen.beat, applicationName],
    );
    const blockers = setInterval(() => {
      void endBlockers(pool, pid, signal);
    }, BLOCKED_MS);
    try {
      const { rows } = await taking;
      await client.query("COMMIT");
      return rows[0] === undefined ? null : Number(rows[0].epoch);
    } finally {
      clearInterval(blockers);
    }
  });
  if (epoch !== null && !seen.released && seen.holder !== applicationName) {
    await endTransactionsOf(pool, seen.holder, signal);
  }
  return epoch;
}

async function endBlockers(pool: pg.Pool, pid: number, signal: AbortSignal): Promise<void> {
  await withClient(pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, (client) =>
    client.query("SELECT pg_terminate_backend(blocker) FROM unnest(pg_blocking_pids($1)) AS blocker", [pid]),
  ).catch(() => undefined);
}

/** Best effort: without the right to do it, `idle_in_transaction_session_timeout` and TCP do their part later. */
async function endTransactionsOf(pool: pg.Pool, holder: string, signal: AbortSignal): Promise<void> {
  await withClient(pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, (client) =>
    client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = $1 AND datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`,
      [holder],
    ),
  ).catch(() => undefined);
}
