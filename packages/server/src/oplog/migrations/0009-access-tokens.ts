import type { Migration } from "./migration.ts";

/** Bearer tokens of the API. A token itself is nowhere: only its SHA-256. */
export const accessTokens: Migration = {
  version: 9,
  name: "access tokens",
  isAdditive: true,
  sql: `
CREATE TABLE emcache.access_token (
  name text PRIMARY KEY,
  sha256 bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
  scope text NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
  entities text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz
);
`,
};
