/**
 * What a server's error means for a change stream and a copy:
 *
 * - `retry`: the stream is opened again after its last token, the copy after its last document;
 * - `history_lost`: what comes after the token is gone, so the source's entities are copied anew;
 * - `token_refused`: the same where it answers an opening at a token, and `retry` elsewhere;
 * - `event_too_large`: the stream is opened without documents for one reply, and the document is read;
 * - `unauthorized`, `unsuitable`: retried too, but only an operator can mend it.
 */
export type MongoErrorMeaning =
  | "retry"
  | "history_lost"
  | "token_refused"
  | "event_too_large"
  | "unauthorized"
  | "unsuitable";

interface MongoErrorRule {
  readonly code: number;
  /** As MongoDB's error_codes.yml names it, or the message of a code that has no name. */
  readonly name: string;
  readonly meaning: MongoErrorMeaning;
  /** Where that is said. */
  readonly section: string;
}

const RESUMABLE = 'Change Streams specification, "Resumable Error"; MongoDB manual, "Resume a Change Stream"';
const LOST = 'MongoDB manual, "Change Streams": "Resume a Change Stream" (the oplog must hold the token\'s operation)';
const LARGE = 'MongoDB manual, "$changeStreamSplitLargeEvent" and "Change Streams Production Recommendations"';
const TOKEN = 'MongoDB manual, "Change Streams": "Resume Tokens"; resume_token.cpp, key_string.cpp';
const ACCESS = 'MongoDB manual, "Change Streams": "Access Control"; "Error Codes"';
const AVAILABILITY = 'MongoDB manual, "Change Streams": "Availability"';

/**
 * Every code that the capture was taught. One that is not here is retried, loudly, and so is every error that no server
 * answered (a closed or silent connection, no server to select). A label can say more than the code: see `meaningOf`.
 */
export const MONGO_ERROR_RULES: readonly MongoErrorRule[] = [
  { code: 6, name: "HostUnreachable", meaning: "retry", section: RESUMABLE },
  { code: 7, name: "HostNotFound", meaning: "retry", section: RESUMABLE },
  { code: 43, name: "CursorNotFound", meaning: "retry", section: RESUMABLE },
  { code: 63, name: "StaleShardVersion", meaning: "retry", section: RESUMABLE },
  { code: 89, name: "NetworkTimeout", meaning: "retry", section: RESUMABLE },
  { code: 91, name: "ShutdownInProgress", meaning: "retry", section: RESUMABLE },
  { code: 133, name: "FailedToSatisfyReadPreference", meaning: "retry", section: RESUMABLE },
  { code: 150, name: "StaleEpoch", meaning: "retry", section: RESUMABLE },
  { code: 189, name: "PrimarySteppedDown", meaning: "retry", section: RESUMABLE },
  { code: 234, name: "RetryChangeStream", meaning: "retry", section: RESUMABLE },
  { code: 262, name: "ExceededTimeLimit", meaning: "retry", section: RESUMABLE },
  { code: 9001, name: "SocketException", meaning: "retry", section: RESUMABLE },
  { code: 10107, name: "NotWritablePrimary", meaning: "retry", section: RESUMABLE },
  { code: 11600, name: "InterruptedAtShutdown", meaning: "retry", section: RESUMABLE },
  { code: 11602, name: "InterruptedDueToReplStateChange", meaning: "retry", section: RESUMABLE },
  { code: 13388, name: "StaleConfig", meaning: "retry", section: RESUMABLE },
  { code: 13435, name: "NotPrimaryNoSecondaryOk", meaning: "retry", section: RESUMABLE },
  { code: 13436, name: "NotPrimaryOrSecondary", meaning: "retry", section: RESUMABLE },
  { code: 286, name: "ChangeStreamHistoryLost", meaning: "history_lost", section: LOST },
  { code: 280, name: "ChangeStreamFatalError", meaning: "history_lost", section: LOST },
  { code: 260, name: "InvalidResumeToken", meaning: "history_lost", section: TOKEN },
  { code: 2, name: "BadValue", meaning: "token_refused", section: TOKEN },
  { code: 9, name: "FailedToParse", meaning: "token_refused", section: TOKEN },
  { code: 40647, name: "a resume token is no document", meaning: "token_refused", section: TOKEN },
  { code: 40648, name: "a resume token's data is no string", meaning: "token_refused", section: TOKEN },
  { code: 40649, name: "a resume token's data is no key", meaning: "token_refused", section: TOKEN },
  { code: 50811, name: "a key string can't be read", meaning: "token_refused", section: TOKEN },
  { code: 10334, name: "BSONObjectTooLarge", meaning: "event_too_large", section: LARGE },
  { code: 13, name: "Unauthorized", meaning: "unauthorized", section: ACCESS },
  { code: 18, name: "AuthenticationFailed", meaning: "unauthorized", section: ACCESS },
  { code: 8000, name: "AtlasError (bad auth)", meaning: "unauthorized", section: ACCESS },
  { code: 40573, name: "$changeStream on a standalone server", meaning: "unsuitable", section: AVAILABILITY },
];

const MEANINGS: ReadonlyMap<number, MongoErrorMeaning> = new Map(
  MONGO_ERROR_RULES.map(({ code, meaning }) => [code, meaning]),
);

/** The label "ResumableChangeStreamError" needs no rule: what is not lost is retried. */
const NON_RESUMABLE_LABEL = "NonResumableChangeStreamError";

/** What an error of this code and with these labels means. */
export function meaningOf(code: number, hasLabel: (label: string) => boolean): MongoErrorMeaning {
  const meaning = MEANINGS.get(code) ?? "retry";
  // The label of 10334 is right for the stream as it was opened; without its documents it goes on.
  if (meaning === "event_too_large") return meaning;
  return hasLabel(NON_RESUMABLE_LABEL) ? "history_lost" : meaning;
}
