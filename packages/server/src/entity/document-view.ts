import type { JSONValue } from "json-p3";
import { BSON_TYPE } from "./bson-type.ts";
import { BsonError, type BsonSlot, doubleAt, forEachElement, int32At, int64At, valueEnd } from "./bson-value.ts";
import { rememberKeyOrder } from "./json-path.ts";
import { decimal128Text } from "./number-text.ts";
import { plainText } from "./plain-text.ts";
import { relaxedJson } from "./relaxed-json.ts";

const DEPTH_MAX = 250;

/**
 * A BSON document as JSONPath filters see it:
 * numbers of every type are numbers (Int64 and Decimal128 as the nearest double); ObjectId, UUID and Date are the text
 * that a `string` column holds, so `?@.at > '2026-01-01'` compares in time; bool, null, strings, documents and arrays
 * are themselves; undefined is null; anything else is an object with one key that equals nothing a filter can write.
 * Of repeated keys the first counts. Text that is not UTF-8 is read with U+FFFD. Throws `BsonError` for malformed bytes.
 */
export function documentView(bytes: Buffer): JSONValue {
  return view(bytes, BSON_TYPE.document, 0, bytes.length, 0);
}

function view(bytes: Buffer, type: number, start: number, end: number, depth: number): JSONValue {
  switch (type) {
    case BSON_TYPE.document:
      return documentOf(bytes, start, end, depth);
    case BSON_TYPE.array:
      return arrayOf(bytes, start, end, depth);
    case BSON_TYPE.string:
      return bytes.toString("utf8", start + 4, end - 1);
    case BSON_TYPE.int32:
      return int32At(bytes, start);
    case BSON_TYPE.int64:
      return Number(int64At(bytes, start));
    case BSON_TYPE.double:
      return doubleAt(bytes, start);
    case BSON_TYPE.decimal128:
      return Number(decimal128Text(bytes, start));
    case BSON_TYPE.bool:
      return bytes[start] !== 0;
    case BSON_TYPE.null:
    case BSON_TYPE.undefined:
      return null;
    default:
      return plainText(bytes, type, start) ?? { "": relaxedJson(bytes, type, start, end, { lossy: true }) };
  }
}

function documentOf(bytes: Buffer, start: number, end: number, depth: number): JSONValue {
  if (depth >= DEPTH_MAX) throw new BsonError(`nested deeper than ${DEPTH_MAX} levels`);
  // Without a prototype `__proto__` is a key like any other.
  const object = Object.create(null) as Record<string, JSONValue>;
  const keys: string[] = [];
  let isReordered = false;
  forEachElement(bytes, start, end, (type, nameStart, nameEnd, valueStart, valueEndOffset) => {
    const key = bytes.toString("utf8", nameStart, nameEnd);
    if (Object.hasOwn(object, key)) return true;
    object[key] = view(bytes, type, valueStart, valueEndOffset, depth + 1);
    keys.push(key);
    if (/^\d/.test(key)) isReordered = true;
    return true;
  });
  if (isReordered) rememberKeyOrder(object, keys);
  return object;
}

function arrayOf(bytes: Buffer, start: number, end: number, depth: number): JSONValue {
  if (depth >= DEPTH_MAX) throw new BsonError(`nested deeper than ${DEPTH_MAX} levels`);
  const elements: JSONValue[] = [];
  forEachElement(bytes, start, end, (type, _nameStart, _nameEnd, valueStart, valueEndOffset) => {
    elements.push(view(bytes, type, valueStart, valueEndOffset, depth + 1));
    return true;
  });
  return elements;
}

/** Where the value lies that a path's match in the view names; null for what exists in the view only. */
export function locate(bytes: Buffer, location: readonly (string | number)[]): BsonSlot | null {
  let slot: BsonSlot | null = { type: BSON_TYPE.document, start: 0 };
  for (const step of location) {
    if (slot === null) return null;
    slot = child(bytes, slot, step);
  }
  return slot;
}

function child(bytes: Buffer, parent: BsonSlot, step: string | number): BsonSlot | null {
  const container = typeof step === "string" ? BSON_TYPE.document : BSON_TYPE.array;
  if (parent.type !== container) return null;
  const end = valueEnd(bytes, parent.type, parent.start, bytes.length);
  let found: BsonSlot | null = null;
  let index = 0;
  forEachElement(bytes, parent.start, end, (type, nameStart, nameEnd, valueStart) => {
    const isWanted = typeof step === "string" ? bytes.toString("utf8", nameStart, nameEnd) === step : index++ === step;
    if (isWanted) found = { type, start: valueStart };
    return !isWanted;
  });
  return found;
}
