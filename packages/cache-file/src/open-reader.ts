import Database from "better-sqlite3";
import { readMetadata, type CacheIdentity, type CacheState } from "./cache-metadata.ts";
import { toCacheError } from "./sqlite-error.ts";

/** How long a reader waits for a lock: only a checkpoint that restarts the WAL holds one, for milliseconds. */
const LOCK_WAIT_MS = 2000;

/**
 * A connection that can only read, to a cache file or a snapshot; the writer goes on meanwhile. Close it, and end
 * each of its read transactions soon: while one is open, the WAL grows. Throws `cache_damaged`, `cache_unavailable`.
 */
export function openReader(path: string): Database.Database {
  try {
    return new Database(path, { readonly: true, fileMustExist: true, timeout: LOCK_WAIT_MS });
  } catch (error) {
    throw toCacheError(error, path);
  }
}

/** What a cache file or snapshot says of itself: whose it is and where it is in the log. */
export function readCacheState(path: string): CacheIdentity & { readonly state: CacheState } {
  const database = openReader(path);
  try {
    return readMetadata(database);
  } catch (error) {
    throw toCacheError(error, path);
  } finally {
    database.close();
  }
}
