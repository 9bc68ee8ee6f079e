import { type BsonDocument, decodeTyped, encode, isDocument } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { compileFilter } from "../query/compile-filter.ts";
import { compileProjection, fieldSelection } from "../query/projection.ts";
import { promotedDocument } from "../query/query-operators.ts";
import { retype, runPipeline } from "../query/run-pipeline.ts";
import { type EntryPredicate, compileEntryPredicate } from "./entry-predicate.ts";

/** What a stage makes of an event; null where it does not match. */
type EventStage = (event: Buffer) => Buffer | null;

/** The stages after `$changeStream`. */
export interface StreamPipeline {
  /** Judges entries before their events are made. */
  readonly accepts: EntryPredicate;
  readonly stages: readonly EventStage[];
  /** Top-level fields that the pipeline drops whatever the event is, so that they need not be made. */
  readonly dropped: ReadonlySet<string>;
  /** Whether large events are to be split. */
  readonly isSplitting: boolean;
  /** The same text for the same stages, to share events between streams. */
  readonly identity: string;
}

/** Stages that MongoDB allows in a change stream (MongoDB manual, "Modify Change Stream Output"). */
const ALLOWED: ReadonlySet<string> = new Set([
  "$addFields",
  "$match",
  "$project",
  "$replaceRoot",
  "$replaceWith",
  "$redact",
  "$set",
  "$unset",
]);

/** MongoDB 7.0, the first release line all of whose servers have `$changeStreamSplitLargeEvent`. */
const WIRE_VERSION_SPLIT = 21;

/** @throws CommandError 20 for a stage that is not allowed, 40324 for one unknown then, 7182802 for a split not last */
export function compileStreamPipeline(stages: readonly BsonDocument[], wireVersion: number): StreamPipeline {
  const isSplitting = stages.some((stage) => "$changeStreamSplitLargeEvent" in stage);
  if (isSplitting && wireVersion < WIRE_VERSION_SPLIT) {
    throw new CommandError(40324, "Unrecognized pipeline stage name: '$changeStreamSplitLargeEvent'");
  }
  if (isSplitting && !("$changeStreamSplitLargeEvent" in (stages.at(-1) ?? {}))) {
    throw new CommandError(7182802, "$changeStreamSplitLargeEvent must be the last stage in the pipeline");
  }
  const rest = isSplitting ? stages.slice(0, -1) : stages;
  const [first, ...others] = rest;
  const accepts = first !== undefined && "$match" in first ? compileEntryPredicate(first["$match"]) : null;
  const remaining = accepts === null ? rest : others;
  // Where only the description is dropped, it is not even made.
  const made = remaining.filter((stage) => !unsetsOnlyDescription(stage));
  const dropped = new Set<string>();
  for (const stage of remaining)
    if ("$unset" in stage) for (const name of unsetNames(stage["$unset"])) dropped.add(name);
  return {
    accepts: accepts ?? (() => true),
    stages: made.map(compileStage),
    dropped,
    isSplitting,
    identity: encode({ remaining }).toString("latin1"),
  };
}

function compileStage(stage: BsonDocument): EventStage {
  const [name = ""] = Object.keys(stage);
  if (!ALLOWED.has(name)) throw new CommandError(20, `${name} is not permitted in a $changeStream pipeline`);
  const argument = stage[name];
  if (name === "$match" && isDocument(argument)) {
    const predicate = compileFilter(argument);
    return (event) => (predicate === null || predicate(event) ? event : null);
  }
  if (name === "$unset") {
    const names = unsetNames(argument);
    if (names.every((path) => !path.includes("."))) return withToken(fieldSelection(new Set(names), false));
  }
  if (name === "$project") {
    const projection = compileProjection(argument);
    if (projection !== null) return withToken(projection);
  }
  return withToken((event) => {
    const typed = decodeTyped(event);
    const [result] = runPipeline([promotedDocument(typed)], [stage]);
    return result === undefined ? null : encode(retype(result, typed) as BsonDocument);
  });
}

/** A stream whose events lose their token can't be resumed, so MongoDB refuses to send them. */
function withToken(stage: EventStage): EventStage {
  return (event) => {
    const result = stage(event);
    if (result !== null && !hasToken(event, result)) {
      throw new CommandError(
        280,
        "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline.",
        { labels: ["NonResumableChangeStreamError"] },
      );
    }
    return result;
  };
}

/** The token stays first, so its bytes are at the same place. */
function hasToken(event: Buffer, result: Buffer): boolean {
  if (result === event) return true;
  const size = event.readInt32LE(9) + 5;
  return event.subarray(4, 4 + size).equals(result.subarray(4, 4 + size));
}

function unsetsOnlyDescription(stage: BsonDocument): boolean {
  return "$unset" in stage && unsetNames(stage["$unset"]).every((name) => name === "updateDescription");
}

function unsetNames(argument: unknown): string[] {
  const names: unknown[] = Array.isArray(argument) ? argument : [argument];
  return names.filter((name): name is string => typeof name === "string");
}
