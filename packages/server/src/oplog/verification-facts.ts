import type pg from "pg";
import type { CopyState } from "../source/capture-log.ts";
import { unsignedTime } from "./append-message.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 60_000;

/** States of the asked documents together at most: the newest of them. */
const STATES_MAX = 10_000;

/** A state of a document that the log has. */
export interface LoggedState {
  readonly docId: string;
  readonly position: number;
  /** JSON text of an array with one value a column. */
  readonly data: string;
}

/** What a verification asks the log beside its rows. */
export class VerificationFacts {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** How the version's copy is; null before its first. */
  async copyState(version: number, signal: AbortSignal): Promise<CopyState | null> {
    const rows = await this.#query<{ state: CopyState }>(
      "SELECT state FROM emcache.copy WHERE version = $1",
      [version],
      signal,
    );
    return rows[0]?.state ?? null;
  }

  /** Nothing that the log shows of the source is newer than this; null where it shows nothing. */
  async latestTime(source: string, signal: AbortSignal): Promise<bigint | null> {
    const rows = await this.#query<{ cluster_time: string | null; lookup_horizon: string | null }>(
      "SELECT cluster_time, lookup_horizon FROM emcache.source_checkpoint WHERE source = $1",
      [source],
      signal,
    );
    const times = [rows[0]?.cluster_time ?? null, rows[0]?.lookup_horizon ?? null].map(unsignedTime);
    return times.reduce((latest, time) => (latest === null || (time !== null && time > latest) ? time : latest), null);
  }

  /** The states of these documents that the log still holds, the newest first. Looks at the whole log. */
  async statesOf(version: number, docIds: readonly string[], signal: AbortSignal): Promise<LoggedState[]> {
    const rows = await this.#query<{ doc_id: string; position: string; data: string }>(
      `SELECT o.doc_id, b.first_position + o.number AS position, o.data
       FROM emcache.oplog o JOIN emcache.batch b USING (batch_id)
       WHERE o.version = $1 AND o.doc_id = ANY ($2) AND o.data IS NOT NULL ORDER BY 2 DESC LIMIT ${STATES_MAX}`,
      [version, docIds.map(toStoredText)],
      signal,
    );
    return rows.map(({ doc_id: docId, position, data }) => ({
      docId: fromStoredText(docId),
      position: Number(position),
      data,
    }));
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }
}
