import { Context } from "mingo";
import { evalExpr } from "mingo/core";
import * as accumulatorOperators from "mingo/operators/accumulator";
import * as expressionOperators from "mingo/operators/expression";
import * as queryOperators from "mingo/operators/query";
import { Query } from "mingo/query";
import { type BsonDocument, decodeTyped, promote } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { BSON_QUERY_OPERATORS, promotedDocument } from "./query-operators.ts";

/** Whether a document, as BSON bytes, matches. */
export type RawPredicate = (document: Buffer) => boolean;

/** Everything that mingo's parts need to be found by name, with our comparisons in front. */
export const QUERY_CONTEXT: Context = Context.init({
  accumulator: accumulatorOperators as unknown as NonNullable<Parameters<typeof Context.init>[0]>["accumulator"] &
    object,
  expression: expressionOperators as unknown as NonNullable<Parameters<typeof Context.init>[0]>["expression"] & object,
  query: { ...queryOperators, ...BSON_QUERY_OPERATORS, $expr: matchesExpression } as unknown as NonNullable<
    Parameters<typeof Context.init>[0]
  >["query"] &
    object,
});

/** `$expr` computes with plain numbers. */
function matchesExpression(_selector: string, expression: unknown, options: never): (document: unknown) => boolean {
  const promoted = promote(expression);
  return (document) => {
    const value: unknown = evalExpr(promotedDocument(document), promoted, options);
    return value !== false && value !== null && value !== undefined && value !== 0;
  };
}

/**
 * A filter as a predicate; null for one that matches everything.
 *
 * @param filter decoded with `decodeArgument`
 * @throws CommandError 2 for what is not a query
 */
export function compileFilter(filter: BsonDocument | undefined): RawPredicate | null {
  const predicate = compileTyped(filter);
  return predicate === null ? null : (bytes) => predicate(decodeTyped(bytes));
}

/** The same for documents that are decoded already. */
export function compileTyped(filter: BsonDocument | undefined): ((document: BsonDocument) => boolean) | null {
  if (filter === undefined || Object.keys(filter).length === 0) return null;
  try {
    const query = new Query(withoutComment(filter), { context: QUERY_CONTEXT });
    return (document) => query.test(document);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(2, error instanceof Error ? error.message : "the filter is not a query");
  }
}

function withoutComment({ $comment: _comment, ...filter }: BsonDocument): BsonDocument {
  return filter;
}
