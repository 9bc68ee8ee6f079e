import type { Migration } from "./migration.ts";

/** A copy's version may be stopped by its policy, or keep the rows of a collection that is gone; copies may rest. */
export const copyStates: Migration = {
  version: 5,
  name: "copy states",
  isAdditive: true,
  sql: `
ALTER TABLE emcache.copy DROP CONSTRAINT copy_state_check;
ALTER TABLE emcache.copy ADD CONSTRAINT copy_state_check CHECK (state IN ('running', 'done', 'stopped', 'kept'));

-- Entities whose copies rest, by name: a changed definition's copy rests too.
CREATE TABLE emcache.copy_pause (
  name      text PRIMARY KEY,
  paused_at timestamptz NOT NULL DEFAULT now()
);
`,
};
