import type { ColumnType } from "@emcache/protocol";
import { BSON_TYPE, BSON_TYPE_MISSING, bsonTypeName } from "./bson-type.ts";
import { doubleAt, int32At, int64At, valueEnd } from "./bson-value.ts";
import { jsonString } from "./json-string.ts";
import { decimal128Text, integralDigits, int64Text, isInt64, realText } from "./number-text.ts";
import { dateMs, isUuid, plainText } from "./plain-text.ts";
import { relaxedJson } from "./relaxed-json.ts";

/**
 * Turns one BSON value into the JSON text that the log holds for its column, or null where the value does not fit
 * (then `refusalReason` says why). Missing, null and undefined are the text `null` for every column type.
 * Throws `BsonError` for text that is not UTF-8 and for malformed bytes inside the value.
 */
export type ColumnEncoder = (bytes: Buffer, type: number, start: number) => string | null;

const SQL_NULL = "null";

function isAbsent(type: number): boolean {
  return type === BSON_TYPE_MISSING || type === BSON_TYPE.null || type === BSON_TYPE.undefined;
}

function sizedString(bytes: Buffer, start: number): string {
  return jsonString(bytes, start + 4, start + 3 + int32At(bytes, start));
}

function json(bytes: Buffer, type: number, start: number): string {
  return relaxedJson(bytes, type, start, valueEnd(bytes, type, start, bytes.length));
}

function finiteReal(value: number): string | null {
  return Number.isFinite(value) ? realText(value) : null;
}

function encodeString(bytes: Buffer, type: number, start: number): string | null {
  if (type === BSON_TYPE.string) return sizedString(bytes, start);
  if (isAbsent(type)) return SQL_NULL;
  const text = plainText(bytes, type, start);
  return text === null ? null : `"${text}"`;
}

function encodeInteger(bytes: Buffer, type: number, start: number): string | null {
  switch (type) {
    case BSON_TYPE.int32:
      return String(int32At(bytes, start));
    case BSON_TYPE.int64:
    case BSON_TYPE.date:
      return int64Text(bytes, start);
    case BSON_TYPE.double: {
      const value = doubleAt(bytes, start);
      return isInt64(value) ? integralDigits(value) : null;
    }
    case BSON_TYPE.bool:
      return bytes[start] === 0 ? "0" : "1";
    default:
      return isAbsent(type) ? SQL_NULL : null;
  }
}

function encodeNumber(bytes: Buffer, type: number, start: number): string | null {
  switch (type) {
    case BSON_TYPE.double:
      return finiteReal(doubleAt(bytes, start));
    case BSON_TYPE.int32:
      return realText(int32At(bytes, start));
    case BSON_TYPE.int64:
      return realText(Number(int64At(bytes, start)));
    case BSON_TYPE.decimal128:
      return finiteReal(Number(decimal128Text(bytes, start)));
    default:
      return isAbsent(type) ? SQL_NULL : null;
  }
}

function encodeBool(bytes: Buffer, type: number, start: number): string | null {
  if (type === BSON_TYPE.bool) return bytes[start] === 0 ? "0" : "1";
  return isAbsent(type) ? SQL_NULL : null;
}

function encodeJsonb(bytes: Buffer, type: number, start: number): string {
  return isAbsent(type) ? SQL_NULL : json(bytes, type, start);
}

function encodeAny(bytes: Buffer, type: number, start: number): string | null {
  switch (type) {
    case BSON_TYPE.string:
      return sizedString(bytes, start);
    case BSON_TYPE.int32:
      return String(int32At(bytes, start));
    case BSON_TYPE.int64:
      return int64Text(bytes, start);
    case BSON_TYPE.double:
      return finiteReal(doubleAt(bytes, start));
    case BSON_TYPE.bool:
      return bytes[start] === 0 ? "0" : "1";
    case BSON_TYPE.objectId:
    case BSON_TYPE.date:
    case BSON_TYPE.decimal128: {
      const text = plainText(bytes, type, start);
      return text === null ? null : `"${text}"`;
    }
    case BSON_TYPE.binary:
      return isUuid(bytes, start) ? `"${plainText(bytes, type, start)}"` : json(bytes, type, start);
    default:
      return isAbsent(type) ? SQL_NULL : json(bytes, type, start);
  }
}

/** The encoder of each column type. */
export const COLUMN_ENCODERS: Readonly<Record<ColumnType, ColumnEncoder>> = {
  string: encodeString,
  integer: encodeInteger,
  number: encodeNumber,
  bool: encodeBool,
  jsonb: encodeJsonb,
  any: encodeAny,
};

/** What each column type takes, as messages say it. */
const TAKES: Readonly<Record<ColumnType, string>> = {
  string: "a string, ObjectId, UUID, Date, number or bool",
  integer: "an Int32, Int64, integral Double within 64 bits, Date or bool",
  number: "a Double, Int32, Int64 or Decimal128",
  bool: "a bool",
  jsonb: "any value",
  any: "any value",
};

/** Why the value of `type` at `start` did not fit a column of `columnType`, in words. */
export function refusalReason(columnType: ColumnType, bytes: Buffer, type: number, start: number): string {
  if (type === BSON_TYPE.date && dateMs(bytes, start) === null && columnType !== "number" && columnType !== "bool") {
    return "a Date beyond the years -271821 to 275760 has no text form; an integer column takes it";
  }
  if (type === BSON_TYPE.double) {
    const value = doubleAt(bytes, start);
    if (!Number.isFinite(value) && columnType !== "bool")
      return `the Double ${value} does not fit a column of type ${columnType}`;
    if (columnType === "integer") return `the Double ${value} is not an integer within 64 bits`;
  }
  if (type === BSON_TYPE.decimal128 && columnType === "number") {
    return `the Decimal128 ${decimal128Text(bytes, start)} is not a finite double`;
  }
  return `a column of type ${columnType} takes ${TAKES[columnType]}, not a ${bsonTypeName(type)}`;
}
