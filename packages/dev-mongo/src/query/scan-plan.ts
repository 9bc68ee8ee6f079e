import { type BsonDocument, isDocument } from "../bson/codec.ts";
import { keyOfValue, typeBracketOf } from "../bson/key-string.ts";

/** How the documents that a filter may match are found: by key, by a range of keys, or all. */
export type ScanPlan =
  | { readonly kind: "keys"; readonly keys: readonly string[]; readonly isExact: boolean }
  | { readonly kind: "range"; readonly low: string | null; readonly high: string | null; readonly isExact: boolean }
  | { readonly kind: "all" };

/** What comes right after this key, in any order of keys. */
function after(key: string): string {
  return `${key}\0`;
}

/**
 * Plans a filter by its condition on `_id`.
 *
 * `isExact` says that the plan's documents all match, so the filter needs no evaluation.
 */
export function planOf(filter: BsonDocument): ScanPlan {
  if (!Object.hasOwn(filter, "_id")) return { kind: "all" };
  const condition = filter["_id"];
  const isOnly = Object.keys(filter).length === 1;
  if (condition instanceof RegExp) return { kind: "all" };
  if (!isDocument(condition) || !Object.keys(condition).some((name) => name.startsWith("$"))) {
    return { kind: "keys", keys: [keyOfValue(condition)], isExact: isOnly };
  }
  return planOfOperators(condition, isOnly);
}

function planOfOperators(condition: BsonDocument, isOnly: boolean): ScanPlan {
  const operators = Object.keys(condition);
  const isExact = isOnly && operators.length === 1;
  if ("$eq" in condition && !(condition["$eq"] instanceof RegExp)) {
    return { kind: "keys", keys: [keyOfValue(condition["$eq"])], isExact };
  }
  const list = condition["$in"];
  if (Array.isArray(list) && !list.some((value) => value instanceof RegExp)) {
    return { kind: "keys", keys: [...new Set(list.map(keyOfValue))].sort(), isExact };
  }
  const isRange = operators.every((name) => RANGE_OPERATORS.has(name));
  let low: string | null = null as string | null;
  let high: string | null = null as string | null;
  for (const name of operators) {
    if (!RANGE_OPERATORS.has(name)) continue;
    const key = keyOfValue(condition[name]);
    const bracket = typeBracketOf(key);
    const from = name === "$gt" ? after(key) : name === "$gte" ? key : bracket.low;
    const to = name === "$lt" ? key : name === "$lte" ? after(key) : bracket.high;
    low = low === null || from > low ? from : low;
    high = high === null || to < high ? to : high;
  }
  return low === null ? { kind: "all" } : { kind: "range", low, high, isExact: isOnly && isRange };
}

const RANGE_OPERATORS: ReadonlySet<string> = new Set(["$gt", "$gte", "$lt", "$lte"]);
