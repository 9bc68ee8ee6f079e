import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError } from "mongodb";
import { EmcacheError } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/**
 * Server error codes after which a change stream can't go on from its token, because the history after it is gone
 * (MongoDB's error_codes.yml): ChangeStreamHistoryLost, ChangeStreamFatalError, InvalidResumeToken.
 */
const HISTORY_LOST_CODES: ReadonlySet<number> = new Set([286, 280, 260]);

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
