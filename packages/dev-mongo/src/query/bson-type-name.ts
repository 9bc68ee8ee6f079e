import {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from "bson";

/** Names and numbers of `$type` (MongoDB manual, "$type", "Available Types"). */
const NUMBER_OF_NAME: Readonly<Record<string, number>> = {
  double: 1,
  string: 2,
  object: 3,
  array: 4,
  binData: 5,
  undefined: 6,
  objectId: 7,
  bool: 8,
  date: 9,
  null: 10,
  regex: 11,
  javascript: 13,
  symbol: 14,
  javascriptWithScope: 15,
  int: 16,
  timestamp: 17,
  long: 18,
  decimal: 19,
  minKey: -1,
  maxKey: 127,
};

/** The type's number for a name or a number of `$type`; null for an unknown one. "number" is -2: any numeric type. */
export function typeNumberOf(nameOrNumber: string | number): number | null {
  if (typeof nameOrNumber === "number") return nameOrNumber;
  return nameOrNumber === "number" ? ANY_NUMBER : (NUMBER_OF_NAME[nameOrNumber] ?? null);
}

const ANY_NUMBER = -2;

/** Whether a decoded value is of this type. */
export function isOfType(value: unknown, wanted: number): boolean {
  const type = typeOf(value);
  return wanted === ANY_NUMBER ? type === 1 || type === 16 || type === 18 || type === 19 : type === wanted;
}

function typeOf(value: unknown): number {
  switch (typeof value) {
    case "string":
      return 2;
    case "boolean":
      return 8;
    case "number":
      return Number.isInteger(value) ? 16 : 1;
    case "bigint":
      return 18;
    case "object":
      return value === null ? 10 : typeOfObject(value);
    default:
      return 6;
  }
}

function typeOfObject(value: object): number {
  if (Array.isArray(value)) return 4;
  if (value instanceof Double) return 1;
  if (value instanceof Int32) return 16;
  if (value instanceof Timestamp) return 17;
  if (value instanceof Long) return 18;
  if (value instanceof Decimal128) return 19;
  if (value instanceof ObjectId) return 7;
  if (value instanceof Date) return 9;
  if (value instanceof Binary) return 5;
  if (value instanceof BSONRegExp || value instanceof RegExp) return 11;
  if (value instanceof Code) return value.scope === null ? 13 : 15;
  if (value instanceof BSONSymbol) return 14;
  if (value instanceof MinKey) return -1;
  return value instanceof MaxKey ? 127 : 3;
}
