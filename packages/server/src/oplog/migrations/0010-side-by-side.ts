import type { Migration } from "./migration.ts";

/**
 * Two versions of EMCache side by side: each step says from here on whether programs that don't know it can go on, and
 * each process says up to which step it knows the schema.
 */
export const sideBySide: Migration = {
  version: 10,
  name: "versions side by side",
  isAdditive: true,
  sql: `
ALTER TABLE emcache.schema_migration ADD COLUMN is_additive boolean NOT NULL DEFAULT false;
CREATE TABLE emcache.process (
  name text PRIMARY KEY,
  schema_version integer NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now()
);
`,
};
