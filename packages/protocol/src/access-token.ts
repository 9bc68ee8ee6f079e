/** What a token allows: `write` includes `read`, `admin` both. */
export type AccessScope = "read" | "write" | "admin";

/** All scopes; each includes those before it. */
export const ACCESS_SCOPES = ["read", "write", "admin"] as const satisfies AccessScope[];

/** A bearer token as it is listed: everything but itself, which only its creation tells. */
export interface AccessTokenInfo {
  /** Unique among the tokens that are in force. */
  readonly name: string;
  readonly scope: AccessScope;
  /** Patterns of entity names with `*` and `?`; `["*"]` allows all. */
  readonly entities: readonly string[];
  /** RFC 3339, UTC with `Z`. */
  readonly created_at: string;
  /** RFC 3339, UTC with `Z`; null: it does not expire. */
  readonly expires_at: string | null;
}
