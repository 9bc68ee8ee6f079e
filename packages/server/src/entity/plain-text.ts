import { BSON_TYPE } from "./bson-type.ts";
import { doubleAt, int32At } from "./bson-value.ts";
import { decimal128Text, doubleText, int64Text } from "./number-text.ts";

const BINARY_SUBTYPE_UUID = 4;
/** Range of JavaScript's Date, in milliseconds around 1970: years -271821 to 275760. */
const DATE_MS_MAX = 8.64e15;

/** Milliseconds since 1970 at `offset`, or null where JavaScript's Date can't hold them. */
export function dateMs(bytes: Uint8Array, offset: number): number | null {
  const high = int32At(bytes, offset + 4);
  const ms = high * 0x1_0000_0000 + (int32At(bytes, offset) >>> 0);
  return Math.abs(ms) <= DATE_MS_MAX ? ms : null;
}

/** Whether the binary value at `start` is an RFC 4122 UUID (subtype 4; subtype 3's byte order is not known). */
export function isUuid(bytes: Uint8Array, start: number): boolean {
  return bytes[start + 4] === BINARY_SUBTYPE_UUID && int32At(bytes, start) === 16;
}

function uuidText(bytes: Buffer, start: number): string {
  const hex = bytes.toString("hex", start + 5, start + 21);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * Text of a value that has one by itself: ObjectId, UUID, Date, numbers, bool. ASCII without anything to escape.
 * Null for every other type and for a Date out of JavaScript's range. Strings are not handled here.
 */
export function plainText(bytes: Buffer, type: number, start: number): string | null {
  switch (type) {
    case BSON_TYPE.objectId:
      return bytes.toString("hex", start, start + 12);
    case BSON_TYPE.int32:
      return String(int32At(bytes, start));
    case BSON_TYPE.int64:
      return int64Text(bytes, start);
    case BSON_TYPE.double:
      return doubleText(doubleAt(bytes, start));
    case BSON_TYPE.bool:
      return bytes[start] === 0 ? "false" : "true";
    case BSON_TYPE.date: {
      const ms = dateMs(bytes, start);
      return ms === null ? null : new Date(ms).toISOString();
    }
    case BSON_TYPE.decimal128:
      return decimal128Text(bytes, start);
    case BSON_TYPE.binary:
      return isUuid(bytes, start) ? uuidText(bytes, start) : null;
    default:
      return null;
  }
}
