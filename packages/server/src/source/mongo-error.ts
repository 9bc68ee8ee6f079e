import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError } from "mongodb";
import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/**
 * Server error codes after which a change stream can't go on from its token, because the history after it is gone
 * (MongoDB's error_codes.yml): ChangeStreamHistoryLost, ChangeStreamFatalError, InvalidResumeToken.
 */
const HISTORY_LOST_CODES: ReadonlySet<number> = new Set([286, 280, 260]);

/**
 * Codes with which a server refuses a resume token that it can't read (a damaged one, or another server's): BadValue,
 * FailedToParse, and MongoDB's own for tokens (resume_token.cpp, key_string.cpp).
 */
const TOKEN_REFUSED_CODES: ReadonlySet<number> = new Set([2, 9, 40647, 40648, 40649, 50811]);

/**
 * BSONObjectTooLarge: the event exceeds what a document may be, and the server can't split it. The label says that the
 * stream can't go on, and with these events it can't; without their documents it does.
 */
const EVENT_TOO_LARGE_CODE = 10334;

/** Unauthorized, AuthenticationFailed. */
const UNAUTHORIZED_CODES: ReadonlySet<number> = new Set([13, 18]);

/**
 * What a failure of a MongoDB command means for the source. Everything that is not named is `source_unavailable`:
 * it is retried, as the change stream specification asks for ("Resumable Error"), and shows in `/health` meanwhile.
 */
export function classifyMongoError(error: unknown, sourceName: string): EmcacheError {
  if (error instanceof EmcacheError) return error;
  const message = `Source ${sourceName}: ${messageOf(error)}`;
  if (error instanceof MongoServerError) {
    const code = typeof error.code === "number" ? error.code : 0;
    if (code === EVENT_TOO_LARGE_CODE) return new EmcacheError("source_unavailable", message, { cause: error });
    if (HISTORY_LOST_CODES.has(code) || error.hasErrorLabel("NonResumableChangeStreamError")) {
      return new EmcacheError("source_history_lost", message, { cause: error });
    }
    if (UNAUTHORIZED_CODES.has(code)) return new EmcacheError("source_unauthorized", message, { cause: error });
    // 40573: "The $changeStream stage is only supported on replica sets".
    if (code === 40573) return new EmcacheError("source_unsuitable", message, { cause: error });
    return new EmcacheError("source_unavailable", message, { cause: error });
  }
  if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError || error instanceof MongoError) {
    return new EmcacheError("source_unavailable", message, { cause: error });
  }
  return new EmcacheError("internal", message, { cause: error });
}

/** Whether a stream failed at an event that is larger than its server can send. */
export function isEventTooLarge(error: unknown): boolean {
  if (!(error instanceof EmcacheError) || !(error.cause instanceof MongoServerError)) return false;
  return error.cause.code === EVENT_TOO_LARGE_CODE;
}

/** The failure of an opening at a token: one that the server can't read is as lost as one that it no longer holds. */
export function asRefusedToken(error: unknown): unknown {
  if (!(error instanceof EmcacheError) || !(error.cause instanceof MongoServerError)) return error;
  const { code } = error.cause;
  if (typeof code !== "number" || !TOKEN_REFUSED_CODES.has(code)) return error;
  return new EmcacheError("source_history_lost", error.message, { cause: error.cause });
}
