import type { Migration } from "./migration.ts";

/**
 * Where an entity's key is a part of `_id`, `id_type` holds what tells whole `_id`s apart (`entity/id-discriminator.ts`),
 * which needs more than a type's byte.
 */
export const wideIdTypes: Migration = {
  version: 7,
  name: "wide id types",
  isAdditive: true,
  sql: `
ALTER TABLE emcache.oplog ALTER COLUMN id_type TYPE integer;
`,
};
