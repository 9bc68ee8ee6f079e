import type { Migration } from "./migration.ts";

/** Where a snapshot lies, for processes that haven't its file; and that it was deleted, for the one that has. */
export const snapshotPlaces: Migration = {
  version: 3,
  name: "snapshot places",
  isAdditive: true,
  sql: `
ALTER TABLE emcache.snapshot
  ADD COLUMN url text NOT NULL DEFAULT '',          -- the holder's API as others reach it; '': they don't
  ADD COLUMN object_key text,                       -- of its file in object storage; null where it is not there
  ADD COLUMN is_deleted boolean NOT NULL DEFAULT false, -- its holder still has to remove the file
  ADD COLUMN seen_at timestamptz NOT NULL DEFAULT now(); -- when its holder last said that it has the file
`,
};
