import { BSON_TYPE } from "./bson-type.ts";
import { doubleAt, int32At } from "./bson-value.ts";
import { decimal128Text, doubleText, int64Text } from "./number-text.ts";

const BINARY_SUBTYPE_UUID = 4;
/** Range of JavaScript's Date, in milliseconds around 1970: years -271821 to 275760. */
const DATE_MS_MAX = 8.64e15;

/** Start of the first and end of the last year that ISO 8601 writes with four digits. */
const YEAR_0_MS = -62_167_219_200_000;
export const YEAR_10000_MS = 253_402_300_800_000;

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

const DAY_MS = 86_400_000;
const TWO_DIGITS = Array.from({ length: 100 }, (_, number) => String(number).padStart(2, "0"));

/** `YYYY-MM-DD` of a day counted from 1970, for the years 0 to 9999 (Howard Hinnant's civil_from_days). */
function dayText(day: number): string {
  const shifted = day + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const dayOfMonth = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${TWO_DIGITS[Math.floor(year / 100)]}${TWO_DIGITS[year % 100]}-${TWO_DIGITS[month]}-${TWO_DIGITS[dayOfMonth]}`;
}

/**
 * ISO 8601 in UTC with milliseconds, as JavaScript's `toISOString` gives it (which takes a microsecond: dates are in
 * most documents, and this takes a fifth of that). `ms` must be in the range of JavaScript's Date.
 */
export function isoText(ms: number): string {
  if (ms < YEAR_0_MS || ms >= YEAR_10000_MS) return new Date(ms).toISOString();
  const day = Math.floor(ms / DAY_MS);
  const inDay = ms - day * DAY_MS;
  const hour = TWO_DIGITS[Math.floor(inDay / 3_600_000)];
  const minute = TWO_DIGITS[Math.floor(inDay / 60_000) % 60];
  const second = TWO_DIGITS[Math.floor(inDay / 1000) % 60];
  const milliseconds = inDay % 1000;
  const fraction = `${Math.floor(milliseconds / 100)}${TWO_DIGITS[milliseconds % 100]}`;
  return `${dayText(day)}T${hour}:${minute}:${second}.${fraction}Z`;
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
      return ms === null ? null : isoText(ms);
    }
    case BSON_TYPE.decimal128:
      return decimal128Text(bytes, start);
    case BSON_TYPE.binary:
      return isUuid(bytes, start) ? uuidText(bytes, start) : null;
    default:
      return null;
  }
}
