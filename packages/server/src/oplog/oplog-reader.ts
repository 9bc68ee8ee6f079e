import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { unsignedTime } from "./append-message.ts";
import { type OplogPage, type RawRow, toOplogPage } from "./oplog-page.ts";
import { pageMessage } from "./page-query.ts";
import { withClient } from "./with-client.ts";

export type { OplogPage, PageRow } from "./oplog-page.ts";

/** What a page is asked for. */
export interface PageRequest {
  /** Position that the reader has; the page starts above it. 0 for the beginning. */
  readonly after: number;
  /** Most rows, at least 1. */
  readonly limit: number;
  /** Only rows of these entity versions; absent: of all that were not deleted. */
  readonly versions?: readonly number[];
  /** The page ends with the row that reaches this many bytes; one that is larger alone comes alone. Default 8 MiB. */
  readonly bytesMax?: number;
  readonly signal: AbortSignal;
}

/** What is known of the batch that holds a position. */
export interface BatchFacts {
  readonly firstPosition: number;
  readonly rowCount: number;
  readonly tag: string;
  readonly source: string;
  /** Cluster time of its source there, a BSON timestamp as an unsigned 64-bit number; null if unknown. */
  readonly clusterTime: bigint | null;
  readonly createdAt: string;
}

const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** A page of few entities looks at this many positions at most: a bounded statement, whatever the others wrote. */
const FILTERED_SCAN_MAX = 100_000;

const READ_TIMEOUT_MS = 70_000;

/** Raw text: the numbers that are needed are converted here, the others not at all. */
const RAW_TYPES = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/** Reads the log, a page a statement. Holds no connection and no transaction between pages. */
export class OplogReader {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /**
   * The rows after a position. The headers that the page touches are checked to follow one another without a gap,
   * whatever the filter; without a filter the rows are too.
   *
   * @throws position_too_old (`details.floor`) where rows after `after` were dropped; oplog_hole; postgres_unavailable.
   */
  async page({ after, limit, versions, bytesMax = PAGE_BYTES_MAX, signal }: PageRequest): Promise<OplogPage> {
    requireWhole("after", after, 0);
    requireWhole("limit", limit, 1);
    requireWhole("bytesMax", bytesMax, 1);
    for (const version of versions ?? []) requireWhole("version", version, 0);
    const scanMax = versions === undefined ? limit : Math.max(limit, FILTERED_SCAN_MAX);
    const text = pageMessage({ after, limit, scanMax, bytesMax, versions: versions ?? null });
    const raw = await this.#readRaw(text, signal);
    return toOplogPage({ after, limit, isFiltered: versions !== undefined }, raw);
  }

  /** Where the log is now. */
  async head(
    signal: AbortSignal = new AbortController().signal,
  ): Promise<{ logId: string; head: number; floor: number }> {
    const rows = await this.#query<{ log_id: string; position: string; floor: string }>(
      "SELECT log_id, position, floor FROM emcache.head",
      [],
      signal,
    );
    const row = rows[0];
    if (row === undefined) throw new EmcacheError("internal", "the log has no head row");
    return { logId: row.log_id, head: Number(row.position), floor: Number(row.floor) };
  }

  /** The batch that holds a position; null where the log holds no such position. */
  async batchAt(position: number, signal: AbortSignal = new AbortController().signal): Promise<BatchFacts | null> {
    requireWhole("position", position, 0);
    const rows = await this.#query<{
      first_position: string;
      row_count: number;
      tag: string;
      source: string;
      cluster_time: string | null;
      created_at: Date;
    }>(
      `SELECT first_position, row_count, tag, source, cluster_time, created_at FROM emcache.batch
       WHERE first_position <= $1 ORDER BY first_position DESC LIMIT 1`,
      [position],
      signal,
    );
    const row = rows[0];
    if (row === undefined || Number(row.first_position) + row.row_count <= position) return null;
    return {
      firstPosition: Number(row.first_position),
      rowCount: row.row_count,
      tag: row.tag,
      source: row.source,
      clusterTime: unsignedTime(row.cluster_time),
      createdAt: row.created_at.toISOString(),
    };
  }

  /**
   * Where a cache of a version can begin from nothing: the `sync_start` of its newest copy that came to its end, or
   * where none did, of the one that runs; null where the log holds neither.
   */
  async latestSyncStart(
    version: number,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<{ position: number; complete: boolean } | null> {
    const rows = await this.#query<{ position: string; complete: boolean }>(
      `SELECT c.position, c.complete FROM emcache.head h, emcache.copy_bracket b,
         LATERAL (VALUES (b.complete_start_position, true), (b.start_position, false)) AS c(position, complete)
       WHERE b.version = $1 AND c.position >= h.floor ORDER BY c.complete DESC LIMIT 1`,
      [version],
      signal,
    );
    const row = rows[0];
    return row === undefined ? null : { position: Number(row.position), complete: row.complete };
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: READ_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }

  async #readRaw(text: string, signal: AbortSignal): Promise<RawRow[]> {
    return withClient(this.#pool, { signal, timeoutMs: READ_TIMEOUT_MS }, async (client) => {
      // Several statements give a list of results; the client's types know one only.
      const results: unknown = await client.query<RawRow>({ text, rowMode: "array", types: RAW_TYPES });
      const list = results as pg.QueryArrayResult<RawRow>[];
      return list.find(({ rows }) => rows.length > 0)?.rows ?? [];
    });
  }
}

function requireWhole(name: string, value: number, min: number): void {
  if (Number.isSafeInteger(value) && value >= min) return;
  throw new EmcacheError("bad_request", `${name} is ${value}; a whole number from ${min} on is needed`);
}
