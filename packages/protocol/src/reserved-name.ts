/** Tables of a cache file, and what a swap calls one for a moment. */
const CACHE_TABLE_NAMES = new Set(["data", "data_sync", "data_temp", "metadata", "id_types"]);

/** Words that follow `/api/oplogs/` or `/api/entity/` in a route, where an entity's name could stand too. */
const ROUTE_NAMES = new Set(["status", "stream", "batch", "refresh"]);

/** Whether a table of the cache file or of SQLite itself has this name, in any case of letters (SQLite ignores case). */
export function isCacheTableName(name: string): boolean {
  const lower = name.toLowerCase();
  return CACHE_TABLE_NAMES.has(lower) || lower.startsWith("sqlite_");
}

/** Whether an entity may not have this name: it would collide with a table of its cache file or with a route. */
export function isReservedEntityName(name: string): boolean {
  return isCacheTableName(name) || ROUTE_NAMES.has(name.toLowerCase());
}
