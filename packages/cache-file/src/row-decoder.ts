import type { Column, ColumnType } from "@emcache/protocol";
import { jsonArraySlices } from "./json-array-slices.ts";

/** What better-sqlite3 binds: a number as REAL, a bigint as INTEGER, a string as TEXT. */
export type SqliteValue = string | number | bigint | null;

/** Appends the column values of one row's JSON text to `target`. Throws SyntaxError where the text is not such a row. */
export type RowDecoder = (text: string, target: SqliteValue[]) => void;

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** Whether every digit of a number's text stands before the decimal point. */
function isIntegerText(text: string): boolean {
  return !/[.eE]/.test(text);
}

/** A JSON number's text as SQLite's own literals read it: digits alone are INTEGER while they fit, all else is REAL. */
function numberOf(text: string): number | bigint {
  if (!isIntegerText(text)) return Number(text);
  const value = BigInt(text);
  return value > INT64_MAX || value < INT64_MIN ? Number(text) : value;
}

function decodeString(slice: string): string {
  return slice.includes("\\") ? (JSON.parse(slice) as string) : slice.slice(1, -1);
}

/** Value of a column of type `any`: by what the JSON value is. */
function decodeAny(slice: string): SqliteValue {
  switch (slice.charCodeAt(0)) {
    case 34: // "
      return decodeString(slice);
    case 123: // {
    case 91: // [
      return slice;
    case 116: // true
      return 1n;
    case 102: // false
      return 0n;
    case 110: // null
      return null;
    default:
      return numberOf(slice);
  }
}

function decodeSlice(slice: string, type: ColumnType): SqliteValue {
  if (slice === "null") return null;
  if (type === "jsonb") return slice;
  const value = decodeAny(slice);
  if (type === "number" && typeof value === "bigint") return Number(slice);
  return value;
}

/** A parsed scalar as SQLite takes it; undefined where only the text tells its value exactly. */
function bindParsed(value: unknown, type: ColumnType): SqliteValue | undefined {
  switch (typeof value) {
    case "string":
      return value;
    case "number":
      if (type === "number") return value;
      // A column declared INTEGER stores an integral REAL as INTEGER, so no bigint is made for small numbers.
      return type === "integer" && Number.isSafeInteger(value) ? value : undefined;
    case "boolean":
      return value ? 1 : 0;
    default:
      return value === null ? null : undefined;
  }
}

/**
 * Makes the function that turns a row's JSON text into SQLite values.
 *
 * `JSON.parse` alone is the fastest way (measured, see bench/row-decoder.ts) but loses what JSON text says: digits of
 * integers beyond 2^53, `1` against `1.0`, and a jsonb value's own text. So it decodes the shapes whose values it
 * can't hurt, and hands a row back to the slicing scanner where it may have. Shapes with a `jsonb` or `any` column are
 * always sliced.
 */
export function compileRowDecoder(columns: readonly Column[]): RowDecoder {
  const types = columns.map((column) => column.type);
  const decodeSliced: RowDecoder = (text, target) => {
    const slices = jsonArraySlices(text);
    if (slices.length !== types.length) throw lengthError(slices.length, types.length);
    for (let index = 0; index < slices.length; index += 1) {
      target.push(decodeSlice(slices[index] as string, types[index] as ColumnType));
    }
  };
  if (types.some((type) => type === "jsonb" || type === "any")) return decodeSliced;
  return (text, target) => {
    const values: unknown = JSON.parse(text);
    if (!Array.isArray(values)) throw new SyntaxError("not a JSON array");
    if (values.length !== types.length) throw lengthError(values.length, types.length);
    const start = target.length;
    for (let index = 0; index < values.length; index += 1) {
      const value = bindParsed(values[index], types[index] as ColumnType);
      if (value === undefined) {
        target.length = start;
        decodeSliced(text, target);
        return;
      }
      target.push(value);
    }
  };
}

function lengthError(found: number, expected: number): SyntaxError {
  return new SyntaxError(`the row has ${found} values, its shape has ${expected} columns`);
}
