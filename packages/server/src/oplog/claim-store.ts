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
  /** RFC 3339, UTC with `Z`, by the database's clock. */
  readonly refreshedAt: string;
}

/** Claims on the log. One that is not refreshed within `retention.claim_ttl` doesn't count any more. */
export class ClaimStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Makes or refreshes a claim. */
  async upsertClaim(claim: Claim, signal: AbortSignal = never()): Promise<void> {
    await this.upsertClaims([claim], signal);
  }

  /** Makes or refreshes claims of different names, in one statement. */
  async upsertClaims(claims: readonly Claim[], signal: AbortSignal = never()): Promise<void> {
    // In the order of names, so that two processes that store the same names don't wait for each other in a circle.
    const sorted = claims.toSorted((left, right) => (left.name < right.name ? -1 : 1));
    await this.#query(
      `INSERT INTO emcache.claim (name, kind, versions, position)
         SELECT g.name, g.kind, g.versions, g.position
         FROM json_to_recordset($1) AS g(name text, kind text, versions integer[], position bigint)
       ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, versions = excluded.versions,
         position = excluded.position, refreshed_at = now()`,
      [JSON.stringify(sorted)],
      signal,
    );
  }

  /** Whether there was one. */
  async removeClaim(name: string, signal: AbortSignal = never(), kind: Claim["kind"] | null = null): Promise<boolean> {
    const rows = await this.#query(
      "DELETE FROM emcache.claim WHERE name = $1 AND ($2::text IS NULL OR kind = $2) RETURNING name",
      [name, kind],
      signal,
    );
    return rows.length > 0;
  }

  /** All of them, the furthest behind first. */
  async list(signal: AbortSignal = never()): Promise<StoredClaim[]> {
    const rows = await this.#query<{
      name: string;
      kind: Claim["kind"];
      versions: number[];
      position: string;
      age_s: number;
      refreshed_at: Date;
    }>(
      `SELECT name, kind, versions, position, refreshed_at, extract(epoch FROM now() - refreshed_at)::float8 AS age_s
       FROM emcache.claim ORDER BY position, name`,
      [],
      signal,
    );
    return rows.map(({ name, kind, versions, position, age_s, refreshed_at }) => ({
      name,
      kind,
      versions,
      position: Number(position),
      ageS: age_s,
      refreshedAt: refreshed_at.toISOString(),
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
