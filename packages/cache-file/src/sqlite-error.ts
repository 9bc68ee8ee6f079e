import { EmcacheError } from "@emcache/protocol";
import Database from "better-sqlite3";

/** Primary result codes that tell of the disk or of another program's lock, not of the file's content. */
const UNAVAILABLE_CODES = [
  "SQLITE_FULL",
  "SQLITE_READONLY",
  "SQLITE_IOERR",
  "SQLITE_CANTOPEN",
  "SQLITE_BUSY",
  "SQLITE_LOCKED",
  "SQLITE_PERM",
  "SQLITE_NOLFS",
  "SQLITE_NOMEM",
];

/** Result codes that tell of the file's content, looked at first; SQLITE_ERROR is a missing table or column. */
const DAMAGED_CODES = [
  "SQLITE_CORRUPT",
  "SQLITE_NOTADB",
  "SQLITE_SCHEMA",
  "SQLITE_ERROR",
  "SQLITE_CONSTRAINT",
  "SQLITE_MISMATCH",
  // The file ends where a page should be: it was cut.
  "SQLITE_IOERR_SHORT_READ",
];

/**
 * The typed form of what SQLite threw while it worked on `path`: `cache_unavailable` where the disk is full, read-only
 * or locked (the same attempt can succeed later), `cache_damaged` where the content is not what EMCache wrote. Any
 * other error comes back as it is.
 */
export function toCacheError(error: unknown, path: string): unknown {
  if (isFileSystemError(error)) {
    return new EmcacheError("cache_unavailable", `${path}: ${error.message}`, { cause: error, details: { path } });
  }
  if (!(error instanceof Database.SqliteError)) return error;
  const isOneOf = (codes: readonly string[]) =>
    codes.some((code) => error.code === code || error.code.startsWith(`${code}_`));
  const details = { path, sqlite_code: error.code, reason: error.code.toLowerCase().replaceAll("_", "-") };
  if (isOneOf(DAMAGED_CODES)) {
    return new EmcacheError("cache_damaged", `${path}: ${error.message}`, { cause: error, details });
  }
  if (isOneOf(UNAVAILABLE_CODES)) {
    return new EmcacheError("cache_unavailable", `${path}: ${error.message}`, { cause: error, details });
  }
  return error;
}

/** What node:fs throws: no rights, no such directory, too many open files, a failing disk. */
function isFileSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "errno" in error && "syscall" in error;
}

/**
 * An error that says what in the file is not as EMCache wrote it.
 *
 * @param reason the same in one or two words with a hyphen, for the name of the file that is set aside
 */
export function damagedError(path: string, what: string, reason: string): EmcacheError {
  return new EmcacheError("cache_damaged", `${path}: ${what}`, { details: { path, reason } });
}
