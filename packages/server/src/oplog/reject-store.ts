import type pg from "pg";
import type { Reject } from "../source/log-row.ts";
import { rejectList } from "./append-message.ts";
import { fromStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** As many of a version are kept (migration 8). */
const KEPT_MAX = 1_000;

/** A reject as it is kept: the last occurrence, and how often it was seen. */
export interface StoredReject extends Reject {
  readonly seenCount: number;
  /** RFC 3339, UTC with `Z`. */
  readonly lastSeenAt: string;
}

interface RejectRow {
  version: number;
  doc_id: string;
  column_name: string | null;
  reason: string;
  sample: string;
  seen_count: string;
  last_seen_at: Date;
}

/**
 * Values and documents that could not be mapped. One row for each document and column, bounded for each version; those
 * that the bound keeps out are counted. A new copy of a version begins with none.
 */
export class RejectStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** How many there are of each version; versions without any are absent. */
  async count(versions: readonly number[], signal: AbortSignal = never()): Promise<Map<number, number>> {
    const rows = await this.#query<{ version: number; total: string }>(
      "SELECT version, total FROM emcache.reject_total WHERE version = ANY ($1) AND total > 0",
      [versions],
      signal,
    );
    return new Map(rows.map(({ version, total }) => [version, Number(total)]));
  }

  /** Those of one version that are kept, the last seen first. */
  async list(version: number, limit: number, offset = 0, signal: AbortSignal = never()): Promise<StoredReject[]> {
    const rows = await this.#query<RejectRow>(
      `SELECT version, doc_id, column_name, reason, sample, seen_count, last_seen_at FROM emcache.reject
       WHERE version = $1 ORDER BY last_seen_at DESC, key LIMIT $2 OFFSET $3`,
      [version, limit, offset],
      signal,
    );
    return rows.map((row) => ({
      version: row.version,
      docId: fromStoredText(row.doc_id),
      column: row.column_name === null ? null : fromStoredText(row.column_name),
      reason: fromStoredText(row.reason),
      sample: fromStoredText(row.sample),
      seenCount: Number(row.seen_count),
      lastSeenAt: row.last_seen_at.toISOString(),
    }));
  }

  /** Forgets those of one version; what is still wrong comes again when its document changes or is copied. */
  async clear(version: number, signal: AbortSignal = never()): Promise<void> {
    await this.#query(
      `WITH gone AS (DELETE FROM emcache.reject WHERE version = $1)
       UPDATE emcache.reject_total SET total = 0 WHERE version = $1`,
      [version],
      signal,
    );
  }

  /** Adds those of others than the capturing side, whose appends bring their own. */
  async add(rejects: readonly Reject[], signal: AbortSignal = never()): Promise<void> {
    if (rejects.length === 0) return;
    await this.#query("SELECT emcache.add_rejects($1)", [JSON.stringify(rejectList(rejects, KEPT_MAX))], signal);
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }
}

function never(): AbortSignal {
  return new AbortController().signal;
}
