import type { ColumnType } from "@emcache/protocol";
import {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  Decimal128,
  deserialize,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
} from "bson";

/*
 * The table of docs/03-entities.md once more, slow and from deserialised values, so that the byte walker has something
 * independent to be compared with. Gives `undefined` where a value does not fit.
 */

type Encoded = string | undefined;

/** Decodes everything without turning any BSON type into a JavaScript one. */
export function referenceDocument(bytes: Uint8Array): Record<string, unknown> {
  return deserialize(bytes, { promoteValues: false, promoteLongs: false, promoteBuffers: false, bsonRegExp: true });
}

/** The value at plain steps, `undefined` for no match. */
export function referenceMatch(document: unknown, steps: readonly (string | number)[]): unknown {
  let value = document;
  for (const step of steps) {
    if (Array.isArray(value) && typeof step === "number") value = value.at(step);
    else if (isDocument(value) && typeof step === "string" && Object.hasOwn(value, step)) value = value[step];
    else return undefined;
  }
  return value;
}

function isDocument(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !("_bsontype" in value) &&
    !(value instanceof Date)
  );
}

/** What the log should hold for one value in one column. */
export function referenceColumn(type: ColumnType, value: unknown): Encoded {
  if (value === null || value === undefined) return "null";
  switch (type) {
    case "string":
      return typeof value === "string" ? JSON.stringify(value) : quoted(plain(value));
    case "integer":
      return integer(value);
    case "number":
      return real(value);
    case "bool":
      return typeof value === "boolean" ? bit(value) : undefined;
    case "jsonb":
      return referenceJson(value);
    case "any":
      return any(value);
  }
}

function any(value: unknown): Encoded {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "boolean") return bit(value);
  if (value instanceof Timestamp) return referenceJson(value);
  if (value instanceof Int32 || value instanceof Long) return value.toString();
  if (value instanceof Double) return real(value);
  const text = plain(value);
  if (text !== undefined) return quoted(text);
  return value instanceof Date ? undefined : referenceJson(value);
}

function bit(value: boolean): string {
  return value ? "1" : "0";
}

function quoted(text: Encoded): Encoded {
  return text === undefined ? undefined : `"${text}"`;
}

function plain(value: unknown): Encoded {
  if (typeof value === "boolean") return String(value);
  if (value instanceof ObjectId) return value.toHexString();
  if (value instanceof Binary)
    return value.sub_type === 4 && value.length() === 16 ? value.toUUID().toString() : undefined;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString();
  if (value instanceof Double) return Object.is(value.value, -0) ? "-0" : String(value.value);
  if (value instanceof Timestamp) return undefined;
  if (value instanceof Int32 || value instanceof Long || value instanceof Decimal128) return value.toString();
  return undefined;
}

function integer(value: unknown): Encoded {
  if (typeof value === "boolean") return bit(value);
  if (value instanceof Date) return String(value.getTime());
  if (value instanceof Timestamp) return undefined;
  if (value instanceof Int32 || value instanceof Long) return value.toString();
  if (!(value instanceof Double) || !Number.isInteger(value.value)) return undefined;
  const digits = BigInt(value.value);
  return BigInt.asIntN(64, digits) === digits ? String(digits) : undefined;
}

function real(value: unknown): Encoded {
  if (value instanceof Timestamp) return undefined;
  const isNumber =
    value instanceof Double || value instanceof Int32 || value instanceof Long || value instanceof Decimal128;
  if (!isNumber) return undefined;
  const number = value instanceof Double ? value.value : Number(value.toString());
  if (!Number.isFinite(number)) return undefined;
  const text = Object.is(number, -0) ? "-0" : String(number);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** Relaxed Extended JSON of a deserialised value. */
export function referenceJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(referenceJson).join(",")}]`;
  if (isDocument(value)) {
    return `{${Object.entries(value)
      .map(([key, child]) => `${JSON.stringify(key)}:${referenceJson(child)}`)
      .join(",")}}`;
  }
  if (value instanceof Double) return real(value) ?? `{"$numberDouble":"${value.value}"}`;
  if (value instanceof Timestamp) return `{"$timestamp":{"t":${value.t},"i":${value.i}}}`;
  if (value instanceof Int32 || value instanceof Long) return value.toString();
  if (value instanceof Decimal128) return `{"$numberDecimal":"${value.toString()}"}`;
  if (value instanceof ObjectId) return `{"$oid":"${value.toHexString()}"}`;
  if (value instanceof Date) return `{"$date":${dateJson(value)}}`;
  if (value instanceof MinKey) return `{"$minKey":1}`;
  if (value instanceof MaxKey) return `{"$maxKey":1}`;
  if (value instanceof BSONSymbol) return `{"$symbol":${JSON.stringify(value.value)}}`;
  if (value instanceof Code) {
    const scope = value.scope === null ? "" : `,"$scope":${referenceJson(value.scope)}`;
    return `{"$code":${JSON.stringify(value.code)}${scope}}`;
  }
  if (value instanceof BSONRegExp) {
    return `{"$regularExpression":${JSON.stringify({ pattern: value.pattern, options: value.options })}}`;
  }
  if (value instanceof Binary) {
    const subType = value.sub_type.toString(16).padStart(2, "0");
    return `{"$binary":{"base64":"${value.toString("base64")}","subType":"${subType}"}}`;
  }
  return JSON.stringify(value);
}

function dateJson(value: Date): string {
  const ms = value.getTime();
  if (ms < 0 || value.getUTCFullYear() > 9999) return `{"$numberLong":"${ms}"}`;
  return `"${value.toISOString().replace(".000Z", "Z")}"`;
}
