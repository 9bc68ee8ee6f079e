import type { IdColumnType } from "@emcache/protocol";
import { BSON_TYPE, BSON_TYPE_MISSING, bsonTypeName } from "./bson-type.ts";
import { doubleAt, int32At, valueEnd } from "./bson-value.ts";
import { utf8Text } from "./json-string.ts";
import {
  decimal128Text,
  decimalInt64Text,
  decimalKeyText,
  doubleKeyText,
  int64Text,
  integralDigits,
  isInt64,
} from "./number-text.ts";
import { plainText } from "./plain-text.ts";
import { relaxedJson } from "./relaxed-json.ts";

function textId(bytes: Buffer, type: number, start: number): string {
  switch (type) {
    case BSON_TYPE.objectId:
      return bytes.toString("hex", start, start + 12);
    case BSON_TYPE.string:
      return utf8Text(bytes, start + 4, start + 3 + int32At(bytes, start));
    case BSON_TYPE.double:
      return doubleKeyText(doubleAt(bytes, start));
    case BSON_TYPE.decimal128:
      return decimalKeyText(decimal128Text(bytes, start));
    default: {
      const text = plainText(bytes, type, start);
      if (text !== null) return text;
      const end = valueEnd(bytes, type, start, bytes.length);
      return relaxedJson(bytes, type, start, end, { integralDoublesPlain: true });
    }
  }
}

function integerId(bytes: Buffer, type: number, start: number): string | null {
  switch (type) {
    case BSON_TYPE.int32:
      return String(int32At(bytes, start));
    case BSON_TYPE.int64:
      return int64Text(bytes, start);
    case BSON_TYPE.double: {
      const value = doubleAt(bytes, start);
      return isInt64(value) ? integralDigits(value) : null;
    }
    case BSON_TYPE.decimal128:
      return decimalInt64Text(decimal128Text(bytes, start));
    default:
      return null;
  }
}

/**
 * The primary key of a row as text: for `string` every BSON value has one, for `number` integers within 64 bits only.
 * Numbers that MongoDB holds equal give the same text. Null where the value can't be a key (`idReason` says why).
 * Throws `BsonError` for text that is not UTF-8 (two such keys could otherwise become one) and malformed bytes.
 */
export function docIdText(idType: IdColumnType, bytes: Buffer, type: number, start: number): string | null {
  if (type === BSON_TYPE_MISSING) return null;
  return idType === "string" ? textId(bytes, type, start) : integerId(bytes, type, start);
}

/** Why `docIdText` gave null. */
export function idReason(path: string, type: number): string {
  if (type === BSON_TYPE_MISSING) return `the document has nothing at ${path}`;
  return `an id column of type number takes integers within 64 bits, not this ${bsonTypeName(type)}; use type string`;
}
