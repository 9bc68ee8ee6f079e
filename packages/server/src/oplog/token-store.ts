import { createHash, randomBytes } from "node:crypto";
import { type AccessScope, type AccessTokenInfo, EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** Tokens at most: each process holds all of them in memory. */
const TOKENS_MAX = 10_000;

/** Lets scanners of repositories and logs know a token that leaked. */
const TOKEN_PREFIX = "emcache_";

/** 256 bits: not to be guessed, however fast a guess can be checked. */
const TOKEN_BYTES = 32;

/** What a token is made with. */
export interface NewToken {
  readonly name: string;
  readonly scope: AccessScope;
  /** Patterns of entity names. */
  readonly entities: readonly string[];
  /** RFC 3339; null: never. */
  readonly expiresAt: string | null;
}

/** A token as a process holds it to compare with. */
export interface StoredToken extends AccessTokenInfo {
  /** In hexadecimal digits. */
  readonly sha256: string;
}

interface TokenRow {
  name: string;
  sha256: Buffer;
  scope: AccessScope;
  entities: string[];
  created_at: Date;
  expires_at: Date | null;
}

const COLUMNS = "name, sha256, scope, entities, created_at, expires_at";

/**
 * Bearer tokens, by their SHA-256. A slow hash, as passwords need, would protect nothing more: a token is 256 random
 * bits, so nobody can try them all, and each request is checked by one look into a map.
 */
export class TokenStore {
  readonly #pool: pg.Pool;
  /** Tells all processes that the tokens changed. */
  readonly #onChange: () => void;

  constructor({ pool, onChange }: { readonly pool: pg.Pool; readonly onChange: () => void }) {
    this.#pool = pool;
    this.#onChange = onChange;
  }

  /** The token itself is in the answer, and nowhere else. @throws EmcacheError `token_exists`, `postgres_unavailable` */
  async create(
    { name, scope, entities, expiresAt }: NewToken,
    signal: AbortSignal,
  ): Promise<{ readonly token: string; readonly info: AccessTokenInfo }> {
    const token = TOKEN_PREFIX + randomBytes(TOKEN_BYTES).toString("base64url");
    const rows = await this.#query<TokenRow>(
      `INSERT INTO emcache.access_token (name, sha256, scope, entities, expires_at)
         SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM emcache.access_token) < ${TOKENS_MAX}
       ON CONFLICT (name) DO NOTHING RETURNING ${COLUMNS}`,
      [name, Buffer.from(tokenHash(token), "hex"), scope, entities, expiresAt],
      signal,
    );
    if (rows[0] === undefined) {
      throw new EmcacheError("token_exists", `There is a token ${JSON.stringify(name)}, or there are ${TOKENS_MAX}`);
    }
    this.#onChange();
    const { sha256: _sha256, ...info } = storedToken(rows[0]);
    return { token, info };
  }

  /** By name. @throws EmcacheError `postgres_unavailable` */
  async list(signal: AbortSignal): Promise<StoredToken[]> {
    const rows = await this.#query<TokenRow>(
      `SELECT ${COLUMNS} FROM emcache.access_token ORDER BY name COLLATE "C"`,
      [],
      signal,
    );
    return rows.map(storedToken);
  }

  /** Whether there was one. @throws EmcacheError `postgres_unavailable` */
  async revoke(name: string, signal: AbortSignal): Promise<boolean> {
    const rows = await this.#query("DELETE FROM emcache.access_token WHERE name = $1 RETURNING name", [name], signal);
    if (rows.length > 0) this.#onChange();
    return rows.length > 0;
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }
}

/** SHA-256 of a token, in hexadecimal digits. */
export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function storedToken({ name, sha256, scope, entities, created_at, expires_at }: TokenRow): StoredToken {
  return {
    name,
    sha256: sha256.toString("hex"),
    scope,
    entities,
    created_at: created_at.toISOString(),
    expires_at: expires_at?.toISOString() ?? null,
  };
}
