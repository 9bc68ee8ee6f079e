import { EmcacheError } from "@emcache/protocol";
import pg from "pg";
import { isAbort, messageOf } from "../runtime/error-message.ts";

/**
 * SQLSTATEs (or their classes, two characters) after which the same attempt can succeed later: connection errors,
 * shutdown and cancel, out of disk, memory or connections, serialization and deadlock, lock time-out, a statement on a
 * server that became a standby, idle time-out, I/O errors, and what a server says that is not set up yet.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const UNAVAILABLE_STATES = ["08", "57", "53", "40", "55", "25006", "25P03", "58", "28", "3D", "XX"];

/** SQLSTATE of an error of the server; null for errors of the connection and others. */
export function sqlStateOf(error: unknown): string | null {
  return error instanceof pg.DatabaseError ? (error.code ?? null) : null;
}

/** Whether the server said no, as opposed to a connection that broke: then the outcome of a commit is unknown. */
export function isServerAnswer(error: unknown): boolean {
  const state = sqlStateOf(error);
  // 57P01 to 57P05 and 25P03 end the connection; where in the commit that was is not told.
  return state !== null && !state.startsWith("57P") && state !== "25P03" && !state.startsWith("08");
}

/** What an error of the PostgreSQL client is in the catalogue's words. Abort errors and our own pass unchanged. */
export function toEmcacheError(error: unknown): Error {
  if (error instanceof EmcacheError || isAbort(error)) return error as Error;
  const state = sqlStateOf(error);
  const message = messageOf(error);
  if (state === null) {
    // The client's own errors ("Connection terminated unexpectedly", ECONNREFUSED, a time-out of the pool) are plain.
    if (error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError) return error;
    return new EmcacheError("postgres_unavailable", `PostgreSQL: ${message}`, { cause: error });
  }
  if (UNAVAILABLE_STATES.some((known) => state.startsWith(known))) {
    return new EmcacheError("postgres_unavailable", `PostgreSQL: ${message} (${state})`, { cause: error });
  }
  if (state === "42501") {
    return new EmcacheError("postgres_unsuitable", `PostgreSQL: ${message} (${state})`, { cause: error });
  }
  return new EmcacheError("internal", `PostgreSQL: ${message} (${state})`, { cause: error });
}
