import type pg from "pg";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** What a reader of the log still needs: everything above `position`. */
export interface Claim {
  /** Names the reader; a later claim of the same name replaces it. */
  readonly name: string;
  readonly kind: "cache" | "consumer";
  /** Entity versions that it reads. */
  readonly versions: readonly number[];
  readonly position: number;
}

/** A claim and how old it is by the database's clock. */
export interface StoredClaim extends Claim {
  readonly ageS: number;
}

/** Claims on the log. One that is not refreshed within `retention.claim_ttl` doesn't count any more. */
export class ClaimStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Makes or refreshes a claim. */
  async upsertClaim({ name, kind, versions, position }: Claim, signal: AbortSignal = never()): Promise<void> {
    await this.#query(
      `INSERT INTO emcache.claim (name, kind, versions, position) VALUES ($1, $2, $3, $4)
       ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, versions = excluded.versions,
         position = excluded.position, refreshed_at = now()`,
      [name, kind, versions, position],
      signal,
    );
  }

  async removeClaim(name: string, signal: AbortSignal = never()): Promise<void> {
    await this.#query("DELETE FROM emcache.claim WHERE name = $1", [name], signal);
  }

  /** All of them, the furthest behind first. */
  async list(signal: AbortSignal = never()): Promise<StoredClaim[]> {
    const rows = await this.#query<{
      name: string;
      kind: Claim["kind"];
      versions: number[];
      position: string;
      age_s: number;
    }>(
      `SELECT name, kind, versions, position, extract(epoch FROM now() - refreshed_at)::float8 AS age_s
       FROM emcache.claim ORDER BY position, name`,
      [],
      signal,
    );
    return rows.map(({ name, kind, versions, position, age_s }) => ({
      name,
      kind,
      versions,
      position: Number(position),
      ageS: age_s,
    }));
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
