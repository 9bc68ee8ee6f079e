import { Aggregator } from "mingo/aggregator";
import { Context } from "mingo";
import * as pipelineOperators from "mingo/operators/pipeline";
import * as projectionOperators from "mingo/operators/projection";
import * as windowOperators from "mingo/operators/window";
import { type BsonDocument, isDocument, promote } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { QUERY_CONTEXT } from "./compile-filter.ts";

type Operators = NonNullable<Parameters<typeof Context.init>[0]>;

const PIPELINE_CONTEXT: Context = Context.from(
  QUERY_CONTEXT,
  Context.init({
    pipeline: pipelineOperators as unknown as NonNullable<Operators["pipeline"]>,
    projection: projectionOperators as unknown as NonNullable<Operators["projection"]>,
    window: windowOperators as unknown as NonNullable<Operators["window"]>,
  }),
);

/**
 * Runs stages of an aggregation by mingo, on plain JavaScript numbers (see `promote` for what that approximates).
 *
 * @param documents promoted documents
 * @param collectionOf promoted documents of another collection, for `$lookup` and its like
 * @throws CommandError 2 for a stage or an expression that mingo refuses
 */
export function runPipeline(
  documents: readonly BsonDocument[],
  pipeline: readonly BsonDocument[],
  collectionOf?: (name: string) => BsonDocument[],
): BsonDocument[] {
  try {
    const stages = pipeline.map((stage) => promote(stage) as BsonDocument);
    const options = {
      context: PIPELINE_CONTEXT,
      ...(collectionOf === undefined ? {} : { collectionResolver: collectionOf }),
    };
    return new Aggregator(stages, options).run<BsonDocument>([...documents]);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(2, error instanceof Error ? error.message : "the pipeline can't be run");
  }
}

/** What was computed on plain numbers, with the types of `typed` wherever a value is unchanged. */
export function retype(computed: unknown, typed: unknown): unknown {
  if (Array.isArray(computed)) {
    const source: unknown[] = Array.isArray(typed) ? typed : [];
    return computed.map((value, index) => retype(value, source[index]));
  }
  if (isDocument(computed)) {
    const source = isDocument(typed) ? typed : {};
    return Object.fromEntries(Object.entries(computed).map(([name, value]) => [name, retype(value, source[name])]));
  }
  return typeof computed === "object" || !Object.is(promote(typed), computed) ? computed : typed;
}
