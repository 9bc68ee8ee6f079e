import { Int32, Long, Timestamp } from "bson";
import { type BsonDocument, isDocument, isNumeric, numberOf } from "../bson/codec.ts";
import { compareValues } from "../bson/key-string.ts";
import { CommandError } from "../command-error.ts";
import { compileTyped } from "../query/compile-filter.ts";
import { isSame } from "../query/query-operators.ts";
import { parseSort } from "../query/sort-order.ts";
import { valuesAt } from "../query/field-path.ts";
import { combine } from "./bson-arithmetic.ts";
import { type Place, type PositionalContext, placesAt, readPlace, writePlace } from "./update-path.ts";

/** What an operator's application knows beside its operand. */
export interface UpdateContext extends PositionalContext {
  /** Whether the document is new, so that `$setOnInsert` counts. */
  readonly isInsert: boolean;
  readonly now: Date;
}

type Operator = (root: BsonDocument, path: string, operand: unknown, context: UpdateContext) => void;

/** An operator that computes a new value from the present one, `undefined` for a missing field. */
function computed(compute: (present: unknown, operand: unknown, context: UpdateContext) => unknown): Operator {
  return (root, path, operand, context) => {
    for (const place of placesAt(root, path, context, true))
      writePlace(place, compute(readPlace(place), operand, context));
  };
}

/** An operator on an array that exists; `undefined` is left alone, another type is an error. */
function onArray(name: string, change: (array: unknown[], operand: unknown) => unknown[]): Operator {
  return (root, path, operand, context) => {
    for (const place of placesAt(root, path, context, false)) {
      const present = readPlace(place);
      if (present === undefined) continue;
      if (!Array.isArray(present)) throw new CommandError(2, `Cannot apply ${name} to a non-array value`);
      writePlace(place, change(present, operand));
    }
  };
}

function arrayOrEmpty(present: unknown, name: string): unknown[] {
  if (present === undefined) return [];
  if (!Array.isArray(present)) throw new CommandError(2, `The field must be an array for ${name}`);
  return [...present];
}

function push(present: unknown, operand: unknown): unknown[] {
  const array = arrayOrEmpty(present, "$push");
  if (!isDocument(operand) || !Array.isArray(operand["$each"])) return [...array, operand];
  const position = numberOf(operand["$position"]) ?? array.length;
  array.splice(position, 0, ...(operand["$each"] as unknown[]));
  if (operand["$sort"] !== undefined) sortArray(array, operand["$sort"]);
  const slice = numberOf(operand["$slice"]);
  if (slice === null) return array;
  return slice < 0 ? array.slice(slice) : array.slice(0, slice);
}

function sortArray(array: unknown[], sort: unknown): void {
  const direction = numberOf(sort);
  if (direction !== null) {
    array.sort((a, b) => direction * compareValues(a, b));
    return;
  }
  const fields = parseSort(sort);
  array.sort((a, b) => {
    for (const { path, isDescending } of fields) {
      const order = compareValues(valuesAt(a, path)[0], valuesAt(b, path)[0]);
      if (order !== 0) return isDescending ? -order : order;
    }
    return 0;
  });
}

function addToSet(present: unknown, operand: unknown): unknown[] {
  const array = arrayOrEmpty(present, "$addToSet");
  const added: unknown[] = isDocument(operand) && Array.isArray(operand["$each"]) ? operand["$each"] : [operand];
  for (const value of added) if (!array.some((element) => isSame(element, value))) array.push(value);
  return array;
}

function pull(array: unknown[], operand: unknown): unknown[] {
  if (!isDocument(operand)) {
    if (operand instanceof RegExp) return array.filter((value) => typeof value !== "string" || !operand.test(value));
    return array.filter((value) => !isSame(value, operand));
  }
  const isOnValue = Object.keys(operand).some((name) => name.startsWith("$"));
  const predicate = compileTyped(isOnValue ? { value: operand } : operand);
  return array.filter((value) => {
    if (isOnValue) return !(predicate?.({ value }) ?? true);
    return !isDocument(value) || !(predicate?.(value) ?? true);
  });
}

function bit(present: unknown, operand: unknown): unknown {
  let value = present ?? new Int32(0);
  for (const [name, mask] of Object.entries(isDocument(operand) ? operand : {})) {
    if (!isNumeric(value) || !isNumeric(mask))
      throw new CommandError(2, "Cannot apply $bit to a value of non-integral type");
    const [x, y] = [BigInt(String(value)), BigInt(String(mask))];
    const result = name === "and" ? x & y : name === "or" ? x | y : x ^ y;
    value = value instanceof Long || mask instanceof Long ? Long.fromBigInt(result) : new Int32(Number(result));
  }
  return value;
}

function unset(root: BsonDocument, path: string, _operand: unknown, context: UpdateContext): void {
  for (const place of placesAt(root, path, context, false)) removePlace(place);
}

function removePlace(place: Place): void {
  if (Array.isArray(place.in)) place.in[place.at as number] = null;
  else delete place.in[place.at as string];
}

function rename(root: BsonDocument, path: string, operand: unknown, context: UpdateContext): void {
  if (typeof operand !== "string") throw new CommandError(2, "The 'to' field for $rename must be a string");
  for (const place of placesAt(root, path, context, false)) {
    const value = readPlace(place);
    if (value === undefined) continue;
    removePlace(place);
    for (const target of placesAt(root, operand, context, true)) writePlace(target, value);
  }
}

function currentDate(_present: unknown, operand: unknown, context: UpdateContext): unknown {
  const isTimestamp = isDocument(operand) && operand["$type"] === "timestamp";
  return isTimestamp ? new Timestamp({ t: Math.floor(context.now.getTime() / 1000), i: 1 }) : context.now;
}

/** By name (MongoDB manual, "Update Operators"). */
export const UPDATE_OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ["$set", computed((_present, operand) => operand)],
  [
    "$setOnInsert",
    (root, path, operand, context) => {
      if (context.isInsert) for (const place of placesAt(root, path, context, true)) writePlace(place, operand);
    },
  ],
  ["$unset", unset],
  ["$inc", computed((present, operand) => (present === undefined ? operand : combine(present, operand, "add")))],
  ["$mul", computed((present, operand) => combine(present ?? new Int32(0), operand, "multiply"))],
  [
    "$min",
    computed((present, operand) => (present === undefined || compareValues(operand, present) < 0 ? operand : present)),
  ],
  [
    "$max",
    computed((present, operand) => (present === undefined || compareValues(operand, present) > 0 ? operand : present)),
  ],
  ["$currentDate", computed(currentDate)],
  ["$rename", rename],
  ["$push", computed(push)],
  ["$addToSet", computed(addToSet)],
  ["$pop", onArray("$pop", (array, operand) => (numberOf(operand) === -1 ? array.slice(1) : array.slice(0, -1)))],
  ["$pull", onArray("$pull", pull)],
  [
    "$pullAll",
    onArray("$pullAll", (array, operand) => {
      const values: unknown[] = Array.isArray(operand) ? operand : [];
      return array.filter((value) => !values.some((other) => isSame(value, other)));
    }),
  ],
  ["$bit", computed(bit)],
]);
