import { Timestamp } from "bson";
import { type BsonDocument, isDocument, isTruthy } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import { type TokenPosition, parseToken } from "../oplog/resume-token.ts";

/** How update events get their documents (MongoDB manual, "Change Streams", "Lookup Full Document"). */
export type FullDocumentMode = "default" | "updateLookup" | "whenAvailable" | "required";

export type BeforeChangeMode = "off" | "whenAvailable" | "required";

/** Where a stream begins. */
export type StreamStart =
  | { readonly kind: "now" }
  | { readonly kind: "time"; readonly time: ClusterTime }
  | { readonly kind: "after"; readonly position: TokenPosition };

/** What the stage `$changeStream` says. */
export interface StreamOptions {
  readonly fullDocument: FullDocumentMode;
  readonly beforeChange: BeforeChangeMode;
  readonly isExpanded: boolean;
  readonly isClusterWide: boolean;
  readonly start: StreamStart;
}

const FULL_DOCUMENT_MODES: ReadonlySet<unknown> = new Set(["default", "updateLookup", "whenAvailable", "required"]);
const BEFORE_CHANGE_MODES: ReadonlySet<unknown> = new Set(["off", "whenAvailable", "required"]);
const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  "fullDocument",
  "fullDocumentBeforeChange",
  "showExpandedEvents",
  "allChangesForCluster",
  "resumeAfter",
  "startAfter",
  "startAtOperationTime",
  "showRawUpdateDescription",
  "showMigrationEvents",
  "showSystemEvents",
]);

/** @throws CommandError 2, 40415, 72, and `parseToken`'s */
export function parseStreamOptions(stage: unknown): StreamOptions {
  if (!isDocument(stage)) throw new CommandError(50808, "$changeStream stage expects a document as argument");
  for (const name of Object.keys(stage)) {
    if (!KNOWN_FIELDS.has(name))
      throw new CommandError(40415, `BSON field '$changeStream.${name}' is an unknown field.`);
  }
  const fullDocument = stage["fullDocument"] ?? "default";
  const beforeChange = stage["fullDocumentBeforeChange"] ?? "off";
  if (!FULL_DOCUMENT_MODES.has(fullDocument)) {
    throw new CommandError(
      2,
      `Enumeration value ${JSON.stringify(fullDocument)} for field '$changeStream.fullDocument' is not a valid value.`,
    );
  }
  if (!BEFORE_CHANGE_MODES.has(beforeChange)) {
    throw new CommandError(
      2,
      `Enumeration value ${JSON.stringify(beforeChange)} for field '$changeStream.fullDocumentBeforeChange' is not a valid value.`,
    );
  }
  return {
    fullDocument: fullDocument as FullDocumentMode,
    beforeChange: beforeChange as BeforeChangeMode,
    isExpanded: isTruthy(stage["showExpandedEvents"]),
    isClusterWide: isTruthy(stage["allChangesForCluster"]),
    start: parseStart(stage),
  };
}

function parseStart(stage: BsonDocument): StreamStart {
  const { resumeAfter, startAfter, startAtOperationTime } = stage;
  if (resumeAfter !== undefined && startAfter !== undefined) {
    throw new CommandError(50865, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage");
  }
  const token = resumeAfter ?? startAfter;
  if (token !== undefined && startAtOperationTime !== undefined) {
    throw new CommandError(40674, "Only one type of resume option is allowed, but multiple were found.");
  }
  if (token !== undefined) {
    const position = parseToken(token);
    if (position.isInvalidate && startAfter === undefined) {
      throw new CommandError(
        260,
        "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.",
      );
    }
    return { kind: "after", position };
  }
  if (startAtOperationTime === undefined) return { kind: "now" };
  if (!(startAtOperationTime instanceof Timestamp)) {
    throw new CommandError(
      14,
      "BSON field '$changeStream.startAtOperationTime' is the wrong type, expected type 'timestamp'",
    );
  }
  return { kind: "time", time: startAtOperationTime.toBigInt() };
}
