import { BSONRegExp } from "bson";
import { isDocument, isTruthy, numberOf, promote } from "../bson/codec.ts";
import { KEY_CLASS, compareValues, keyOfValue, typeBracketOf } from "../bson/key-string.ts";
import { CommandError } from "../command-error.ts";
import { isOfType, typeNumberOf } from "./bson-type-name.ts";
import { valuesAt } from "./field-path.ts";

/**
 * Comparison operators of the query language in BSON's order and with BSON's types. mingo's own compare JavaScript
 * values: an Int64 would differ from an equal Int32, and types would sort in another order.
 */

type Predicate = (document: unknown) => boolean;
type Operator = (selector: string, operand: never) => Predicate;

const NULL_KEY = String.fromCharCode(KEY_CLASS.null);

/** Calls `test` with each value that the path names and, for arrays, with each of their elements, until one holds. */
function anyValue(document: unknown, selector: string, test: (value: unknown) => boolean): boolean {
  return valuesAt(document, selector).some((value) => test(value) || (Array.isArray(value) && value.some(test)));
}

function equals(selector: string, operand: unknown): Predicate {
  if (operand instanceof RegExp) return matches(selector, operand);
  const key = keyOfValue(operand);
  // null is also equal to a missing field.
  if (key === NULL_KEY) {
    return (document) =>
      valuesAt(document, selector).length === 0 || anyValue(document, selector, (value) => keyOfValue(value) === key);
  }
  return (document) => anyValue(document, selector, (value) => keyOfValue(value) === key);
}

function matches(selector: string, expression: RegExp): Predicate {
  return (document) =>
    anyValue(document, selector, (value) => {
      if (typeof value === "string") return expression.test(value);
      return value instanceof BSONRegExp && value.pattern === expression.source;
    });
}

/** `$gt` and its like look only at values of the operand's type class. */
function ordered(test: (order: number) => boolean): Operator {
  return (selector: string, operand: unknown): Predicate => {
    const key = keyOfValue(operand);
    const { low, high } = typeBracketOf(key);
    return (document) =>
      anyValue(document, selector, (value) => {
        const other = keyOfValue(value);
        return other >= low && other < high && test(other === key ? 0 : other < key ? -1 : 1);
      });
  };
}

function isIn(selector: string, operands: unknown): Predicate {
  if (!Array.isArray(operands)) throw new CommandError(2, "$in needs an array");
  const keys = new Set(operands.filter((operand) => !(operand instanceof RegExp)).map(keyOfValue));
  const expressions = operands
    .filter((operand) => operand instanceof RegExp)
    .map((operand) => matches(selector, operand));
  return (document) => {
    const values = valuesAt(document, selector);
    if (values.length === 0 && keys.has(NULL_KEY)) return true;
    return (
      anyValue(document, selector, (value) => keys.has(keyOfValue(value))) || expressions.some((test) => test(document))
    );
  };
}

function not(predicate: Predicate): Predicate {
  return (document) => !predicate(document);
}

function exists(selector: string, operand: unknown): Predicate {
  const wanted = isTruthy(operand);
  return (document) => valuesAt(document, selector).length > 0 === wanted;
}

function hasType(selector: string, operand: unknown): Predicate {
  const types = (Array.isArray(operand) ? operand : [operand]).map((name: unknown) => {
    const type = typeof name === "string" ? typeNumberOf(name) : numberOf(name);
    if (type === null) throw new CommandError(2, `Unknown type name alias: ${String(name)}`);
    return type;
  });
  return (document) => anyValue(document, selector, (value) => types.some((type) => isOfType(value, type)));
}

function hasSize(selector: string, operand: unknown): Predicate {
  const size = numberOf(operand);
  return (document) => valuesAt(document, selector).some((value) => Array.isArray(value) && value.length === size);
}

function hasRemainder(selector: string, operand: unknown): Predicate {
  const [divisor, remainder] = Array.isArray(operand) ? operand.map(numberOf) : [];
  if (divisor === undefined || remainder === undefined || divisor === null || divisor === 0) {
    throw new CommandError(2, "malformed mod");
  }
  return (document) =>
    anyValue(document, selector, (value) => {
      const number = numberOf(value);
      return number !== null && Math.trunc(number) % Math.trunc(divisor) === remainder;
    });
}

function regex(selector: string, operand: unknown): Predicate {
  if (operand instanceof RegExp) return matches(selector, operand);
  throw new CommandError(2, "$regex has to be a string");
}

/** `$elemMatch` inside `$all` is left to mingo's `$and`: see `compileFilter`. */
function hasAll(selector: string, operands: unknown): Predicate {
  if (!Array.isArray(operands)) throw new CommandError(2, "$all needs an array");
  const tests = operands.map((operand: unknown) => equals(selector, operand));
  return (document) => tests.length > 0 && tests.every((test) => test(document));
}

/** By name; used in place of mingo's of the same names. */
export const BSON_QUERY_OPERATORS = {
  $eq: equals,
  $ne: (selector: string, operand: unknown) => not(equals(selector, operand)),
  $gt: ordered((order) => order > 0),
  $gte: ordered((order) => order >= 0),
  $lt: ordered((order) => order < 0),
  $lte: ordered((order) => order <= 0),
  $in: isIn,
  $nin: (selector: string, operand: unknown) => not(isIn(selector, operand)),
  $exists: exists,
  $type: hasType,
  $size: hasSize,
  $mod: hasRemainder,
  $regex: regex,
  $all: hasAll,
};

/** Whether two decoded values are the same to MongoDB: 1 and 1.0 are. */
export function isSame(a: unknown, b: unknown): boolean {
  return compareValues(a, b) === 0;
}

/** Numbers as `$expr` and other expressions want them. */
export function promotedDocument(document: unknown): Record<string, unknown> {
  const promoted = promote(document);
  return isDocument(promoted) ? promoted : {};
}
