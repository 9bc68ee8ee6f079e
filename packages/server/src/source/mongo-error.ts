import { MongoError, MongoNetworkError, MongoServerError, MongoServerSelectionError } from "mongodb";
import { EmcacheError, type ErrorCode } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import { meaningOf, type MongoErrorMeaning } from "./mongo-error-table.ts";

/** How the source is said to be. */
const SOURCE_CODES = {
  retry: "source_unavailable",
  token_refused: "source_unavailable",
  event_too_large: "source_unavailable",
  history_lost: "source_history_lost",
  unauthorized: "source_unauthorized",
  unsuitable: "source_unsuitable",
} as const satisfies Record<MongoErrorMeaning, ErrorCode>;

/** What a failure of a MongoDB command means for the source, by `mongo-error-table.ts`. */
export function classifyMongoError(error: unknown, sourceName: string): EmcacheError {
  if (error instanceof EmcacheError) return error;
  const message = `Source ${sourceName}: ${messageOf(error)}`;
  if (error instanceof MongoServerError) {
    return new EmcacheError(SOURCE_CODES[meaningIn(error)], message, { cause: error });
  }
  if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError || error instanceof MongoError) {
    return new EmcacheError("source_unavailable", message, { cause: error });
  }
  return new EmcacheError("internal", message, { cause: error });
}

/** Whether a stream failed at an event that is larger than its server can send. */
export function isEventTooLarge(error: unknown): boolean {
  return causeOf(error)?.meaning === "event_too_large";
}

/** The failure of an opening at a token: one that the server can't read is as lost as one that it no longer holds. */
export function asRefusedToken(error: unknown): unknown {
  const cause = causeOf(error);
  if (cause?.meaning !== "token_refused") return error;
  return new EmcacheError("source_history_lost", cause.message, { cause: cause.error });
}

function causeOf(error: unknown): { error: MongoServerError; meaning: MongoErrorMeaning; message: string } | null {
  if (!(error instanceof EmcacheError) || !(error.cause instanceof MongoServerError)) return null;
  return { error: error.cause, meaning: meaningIn(error.cause), message: error.message };
}

function meaningIn(error: MongoServerError): MongoErrorMeaning {
  return meaningOf(typeof error.code === "number" ? error.code : 0, (label) => error.hasErrorLabel(label));
}
