import type pg from "pg";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/**
 * Requests for new copies: how a cache that can't be built from the log reaches the process that captures its source,
 * whichever that is. A request is gone with the beginning of the copy, in the same transaction.
 */
export class CopyRequestStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Asks for a new copy of the version; asking twice is asking once. */
  async request(version: number, signal: AbortSignal): Promise<void> {
    await withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, (client) =>
      client.query("INSERT INTO emcache.copy_request (version) VALUES ($1) ON CONFLICT DO NOTHING", [version]),
    );
  }

  /** Names of the entities whose copies rest. */
  async paused(signal: AbortSignal): Promise<string[]> {
    const { rows } = await withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, (client) =>
      client.query<{ name: string }>("SELECT name FROM emcache.copy_pause"),
    );
    return rows.map(({ name }) => name);
  }

  /** Versions whose copy was asked for and has not begun. */
  async list(signal: AbortSignal): Promise<number[]> {
    const { rows } = await withClient(this.#pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, (client) =>
      client.query<{ version: number }>("SELECT version FROM emcache.copy_request ORDER BY version"),
    );
    return rows.map(({ version }) => version);
  }
}
