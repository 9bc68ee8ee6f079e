import type pg from "pg";
import type { CopyState } from "../source/capture-log.ts";
import { fromStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** How the copy of an entity's version is, whichever process makes it. */
export interface CopyCondition {
  /** Null before its first copy has begun. */
  readonly state: CopyState | null;
  /** Whether the entity's copies rest. */
  readonly isPaused: boolean;
  /** The reject that stopped it; null where none did. */
  readonly stopReason: string | null;
}

interface ConditionRow {
  version: number;
  state: CopyState | null;
  is_paused: boolean;
  stop_reason: string | null;
}

/** What operators do with copies, for the process that makes them to see. */
export class CopyControlStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async conditions(versions: readonly number[], signal: AbortSignal = never()): Promise<Map<number, CopyCondition>> {
    const rows = await this.#query<ConditionRow>(
      `SELECT e.version, c.state, p.name IS NOT NULL AS is_paused,
         CASE WHEN c.state = 'stopped' THEN (
           SELECT r.reason FROM emcache.reject r WHERE r.version = e.version ORDER BY r.last_seen_at DESC LIMIT 1
         ) END AS stop_reason
       FROM emcache.entity_version e
         LEFT JOIN emcache.copy c ON c.version = e.version
         LEFT JOIN emcache.copy_pause p ON p.name = e.name
       WHERE e.version = ANY ($1)`,
      [versions],
      signal,
    );
    return new Map(
      rows.map(({ version, state, is_paused: isPaused, stop_reason: reason }) => [
        version,
        { state, isPaused, stopReason: reason === null ? null : fromStoredText(reason) },
      ]),
    );
  }

  /** Asks for a new copy of the version; asking twice is asking once. A version that stopped goes on with it. */
  async request(version: number, signal: AbortSignal = never()): Promise<void> {
    await this.#query(
      "INSERT INTO emcache.copy_request (version) VALUES ($1) ON CONFLICT DO NOTHING",
      [version],
      signal,
    );
  }

  /** The copies of an entity's versions rest, present and future ones, until `resume`. */
  async pause(entityName: string, signal: AbortSignal = never()): Promise<void> {
    await this.#query("INSERT INTO emcache.copy_pause (name) VALUES ($1) ON CONFLICT DO NOTHING", [entityName], signal);
  }

  async resume(entityName: string, signal: AbortSignal = never()): Promise<void> {
    await this.#query("DELETE FROM emcache.copy_pause WHERE name = $1", [entityName], signal);
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
