/** Entity names that would collide with a table of the cache file or with a route under /api. */
const RESERVED_ENTITY_NAMES = new Set([
  "data",
  "data_sync",
  "data_temp",
  "metadata",
  "id_types",
  "status",
  "stream",
  "batch",
  "refresh",
]);

/** Whether an entity may not have this name, in any case of letters (SQLite's names ignore case). */
export function isReservedEntityName(name: string): boolean {
  const lower = name.toLowerCase();
  return RESERVED_ENTITY_NAMES.has(lower) || lower.startsWith("sqlite_");
}
