import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { parseEntity, readMetadata, type CacheIdentity, type CacheState } from "./cache-metadata.ts";
import { damagedError, toCacheError } from "./sqlite-error.ts";

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

/** The entity that a cache file is of, whatever format it has: that much is the same in all. Throws `cache_damaged`. */
export function readCacheEntity(path: string): Entity {
  const database = openReader(path);
  try {
    const row = database.prepare<[], { value: string }>("SELECT value FROM metadata WHERE key = 'entity'").get();
    if (row === undefined) throw damagedError(path, "metadata has no entity", "metadata");
    return parseEntity(path, row.value);
  } catch (error) {
    throw toCacheError(error, path);
  } finally {
    database.close();
  }
}
