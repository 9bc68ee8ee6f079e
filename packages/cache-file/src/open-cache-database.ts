import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";
import {
  CACHE_APPLICATION_ID,
  CACHE_FORMAT,
  readMetadata,
  writeIdentity,
  type CacheIdentity,
  type CacheState,
} from "./cache-metadata.ts";
import { checkSchema, createSchema } from "./cache-schema.ts";
import { isSameEntity } from "./same-entity.ts";
import { damagedError } from "./sqlite-error.ts";

/** Files up to this size are checked page by page at opening (about 0.3 s); larger ones only by `verifyIntegrity`. */
const QUICK_CHECK_BYTES_MAX = 128 * 1024 * 1024;

/** A checkpoint's size. 64 MB loads 1.2–1.8 times as fast as SQLite's own 4 MB (fewer fsyncs of the file; measured). */
const CHECKPOINT_PAGES = 16_000;
const WAL_KEPT_BYTES = 64 * 1024 * 1024;

/** How long a write waits for another program's lock; all caches of a process wait with it, so it is short. */
const LOCK_WAIT_MS = 250;

/** Opens a cache file for writing, creating it where there is none, and checks that it is this entity's and this log's. */
export function openCacheDatabase(
  path: string,
  identity: CacheIdentity,
): { database: Database.Database; state: CacheState } {
  accessSync(dirname(path), constants.W_OK);
  const database = new Database(path, { timeout: LOCK_WAIT_MS });
  try {
    setPragmas(database);
    if (isEmpty(database)) create(database, identity);
    const state = check(database, identity);
    return { database, state };
  } catch (error) {
    database.close();
    throw error;
  }
}

function setPragmas(database: Database.Database): void {
  // WAL: any SQLite tool can read the file while it is written.
  database.pragma("journal_mode = WAL");
  // NORMAL: a commit doesn't wait for the disk. A power loss may take the last transactions with it, whole ones with
  // their positions, and the log has them; the file stays consistent.
  database.pragma("synchronous = NORMAL");
  database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  // A WAL that one large transaction made large is cut to this size by the next checkpoint.
  database.pragma(`journal_size_limit = ${WAL_KEPT_BYTES}`);
}

function isEmpty(database: Database.Database): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
}

function create(database: Database.Database, identity: CacheIdentity): void {
  database
    .transaction(() => {
      database.pragma(`application_id = ${CACHE_APPLICATION_ID}`);
      database.pragma(`user_version = ${CACHE_FORMAT}`);
      createSchema(database, identity.entity);
      writeIdentity(database, identity);
    })
    .immediate();
}

function check(database: Database.Database, identity: CacheIdentity): CacheState {
  if (database.pragma("application_id", { simple: true }) !== CACHE_APPLICATION_ID) {
    throw damagedError(database.name, "it is a database of another program");
  }
  const found = readMetadata(database);
  if (found.logId !== identity.logId) {
    throw new EmcacheError(
      "history_mismatch",
      `${database.name}: it follows the log ${found.logId}, not ${identity.logId}`,
      { details: { path: database.name, log_id: identity.logId } },
    );
  }
  if (!isSameEntity(found.entity, identity.entity)) {
    throw damagedError(
      database.name,
      `it is of version ${found.entity.id} of ${found.entity.name}, not of version ${identity.entity.id} of ${identity.entity.name}`,
    );
  }
  checkSchema(database, identity.entity);
  if (statSync(database.name).size <= QUICK_CHECK_BYTES_MAX) checkPages(database, "quick_check");
  return found.state;
}

/** Runs one of SQLite's own checks; throws `cache_damaged` with its first complaint. */
export function checkPages(database: Database.Database, pragma: "quick_check" | "integrity_check"): void {
  const complaint = database.pragma(`${pragma}(1)`, { simple: true });
  if (complaint !== "ok") throw damagedError(database.name, `${pragma}: ${String(complaint)}`);
}
