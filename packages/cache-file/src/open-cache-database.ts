import { accessSync, constants } from "node:fs";
import { dirname } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";
import {
  CACHE_APPLICATION_ID,
  CACHE_FORMAT,
  readMetadata,
  requireFormat,
  writeIdentity,
  type CacheIdentity,
  type CacheState,
} from "./cache-metadata.ts";
import { checkSchema, createSchema } from "./cache-schema.ts";
import { PageSums, walExtent } from "./page-sums.ts";
import { isSameEntity } from "./same-entity.ts";
import { damagedError } from "./sqlite-error.ts";

/**
 * So much of a file is compared with its checksums at opening (1 ms a MiB), so that a process is there at once; what
 * lies beyond is compared in the seconds after it, by `CacheFile.check`.
 */
const OPENING_CHECK_BYTES = 256 * 1024 * 1024;

const WAL_KEPT_BYTES = 64 * 1024 * 1024;

/** How long a write waits for another program's lock; all caches of a process wait with it, so it is short. */
const LOCK_WAIT_MS = 250;

/** A cache file that was opened for writing. */
export interface OpenedCache {
  readonly database: Database.Database;
  readonly sums: PageSums;
  readonly state: CacheState;
  /** The first page that was not compared with its checksum; 1 where all were. */
  readonly uncheckedFrom: number;
}

/**
 * Opens a cache file for writing, creating it where there is none, and checks that it is this entity's and this log's,
 * and that nothing but EMCache wrote to it.
 */
export function openCacheDatabase(path: string, identity: CacheIdentity): OpenedCache {
  accessSync(dirname(path), constants.W_OK);
  const database = new Database(path, { timeout: LOCK_WAIT_MS });
  let sums: PageSums | null = null;
  try {
    setPragmas(database);
    sums = new PageSums(path, Number(database.pragma("page_size", { simple: true })));
    if (isEmpty(database)) {
      sums.takeAll();
      create(database, identity);
    }
    // Before the checksums: another EMCache's may be others.
    requireFormat(database);
    const uncheckedFrom = checkSums(database, sums);
    return { database, sums, state: check(database, identity), uncheckedFrom };
  } catch (error) {
    closeUnchanged(database, sums);
    throw error;
  }
}

/** Closes what can't be used. The checksums go where SQLite's close may move pages that they know nothing of. */
function closeUnchanged(database: Database.Database, sums: PageSums | null): void {
  try {
    sums?.take(walExtent(database));
  } catch {
    sums?.forget();
  }
  database.close();
  sums?.close();
}

function setPragmas(database: Database.Database): void {
  // WAL: any SQLite tool can read the file while it is written.
  database.pragma("journal_mode = WAL");
  // NORMAL: a commit doesn't wait for the disk. A power loss may take the last transactions with it, whole ones with
  // their positions, and the log has them; the file stays consistent.
  database.pragma("synchronous = NORMAL");
  // Checkpoints are ours: page checksums come first.
  database.pragma("wal_autocheckpoint = 0");
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
    throw damagedError(database.name, "it is a database of another program", "foreign");
  }
  const found = readMetadata(database);
  if (found.logId !== identity.logId) {
    throw new EmcacheError(
      "history_mismatch",
      `${database.name}: it follows the log ${found.logId}, not ${identity.logId}`,
      { details: { path: database.name, log_id: identity.logId, reason: "other-log" } },
    );
  }
  if (!isSameEntity(found.entity, identity.entity)) {
    throw damagedError(
      database.name,
      `it is of version ${found.entity.id} of ${found.entity.name}, not of version ${identity.entity.id} of ${identity.entity.name}`,
      "entity",
    );
  }
  checkSchema(database, identity.entity);
  return found.state;
}

/** Compares the file with its checksums, up to a size. One that has none (of an earlier EMCache) is read by SQLite instead. */
function checkSums(database: Database.Database, sums: PageSums): number {
  if (sums.isThere) return sums.check(1, sums.pagesOf(OPENING_CHECK_BYTES), walExtent(database));
  checkPages(database);
  sums.takeAll();
  return 1;
}

/** Lets SQLite check the whole file; throws `cache_damaged` with its first complaint. */
export function checkPages(database: Database.Database): void {
  const complaint = database.pragma("integrity_check(1)", { simple: true });
  if (complaint !== "ok") throw damagedError(database.name, `integrity_check: ${String(complaint)}`, "integrity-check");
}
