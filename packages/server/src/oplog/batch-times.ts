import type pg from "pg";
import { unsignedTime } from "./append-message.ts";
import { withClient } from "./with-client.ts";

/** Enough for a walk over the headers of a large log. */
const READ_TIMEOUT_MS = 60_000;

/** A cluster time's seconds; the upper half of its 64 bits, which are stored as signed. */
const SECONDS = "((cluster_time >> 32) & 4294967295)";

/** Relates positions of the log to cluster times of a source, by the headers of its batches. */
export class BatchTimes {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Cluster time of the source's last batch that begins at or before a position; null where the log holds none. */
  async timeAt(source: string, position: number, signal: AbortSignal): Promise<bigint | null> {
    const row = await this.#first<{ cluster_time: string | null }>(
      `SELECT cluster_time FROM emcache.batch WHERE source = $1 AND first_position <= $2
       ORDER BY first_position DESC LIMIT 1`,
      [source, position],
      signal,
    );
    return unsignedTime(row?.cluster_time ?? null);
  }

  /** Last position of the source's last batch whose cluster time is not after a second; null where there is none. */
  async lastPositionUntil(source: string, timeS: number, signal: AbortSignal): Promise<number | null> {
    const row = await this.#first<{ position: string }>(
      `SELECT first_position + row_count - 1 AS position FROM emcache.batch
       WHERE source = $1 AND ${SECONDS} <= $2 ORDER BY first_position DESC LIMIT 1`,
      [source, timeS],
      signal,
    );
    return row === null ? null : Number(row.position);
  }

  /** First position of the source's first batch after a position; null where there is none yet. */
  async nextPositionAfter(source: string, position: number, signal: AbortSignal): Promise<number | null> {
    const row = await this.#first<{ position: string }>(
      `SELECT first_position AS position FROM emcache.batch
       WHERE source = $1 AND first_position > $2 ORDER BY first_position LIMIT 1`,
      [source, position],
      signal,
    );
    return row === null ? null : Number(row.position);
  }

  /** Cluster time of the source's first batch that the log holds; null where it holds none. */
  async firstTime(source: string, signal: AbortSignal): Promise<bigint | null> {
    const row = await this.#first<{ cluster_time: string | null }>(
      `SELECT cluster_time FROM emcache.batch WHERE source = $1 AND cluster_time IS NOT NULL
       ORDER BY first_position LIMIT 1`,
      [source],
      signal,
    );
    return unsignedTime(row?.cluster_time ?? null);
  }

  /** Until which cluster time the source was captured: nothing of it up to then is missing from the log. */
  async capturedUntil(source: string, signal: AbortSignal): Promise<bigint | null> {
    const row = await this.#first<{ cluster_time: string | null }>(
      "SELECT cluster_time FROM emcache.source_checkpoint WHERE source = $1",
      [source],
      signal,
    );
    return unsignedTime(row?.cluster_time ?? null);
  }

  async #first<Row extends pg.QueryResultRow>(
    text: string,
    values: unknown[],
    signal: AbortSignal,
  ): Promise<Row | null> {
    const options = { signal, timeoutMs: READ_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows[0] ?? null;
  }
}
