import { Decimal128 } from "bson";
import { int32At, int64At } from "./bson-value.ts";

/** Beyond this, JavaScript prints integral doubles with an exponent. */
const PLAIN_DIGITS_LIMIT = 1e21;

/** Digits of the signed 64-bit integer at `offset`, all of them. */
export function int64Text(bytes: Uint8Array, offset: number): string {
  const high = int32At(bytes, offset + 4);
  // Within 53 bits a double holds the integer exactly, which is faster than a bigint.
  if (high >= -0x20_0000 && high < 0x20_0000) return String(high * 0x1_0000_0000 + (int32At(bytes, offset) >>> 0));
  return String(int64At(bytes, offset));
}

/**
 * A finite double as a JSON number that every reader can tell from an integer: shortest text that parses back bit for
 * bit, with `.0` or an exponent (`1.0`, `-0.0`, `1e+21`).
 */
export function realText(value: number): string {
  if (!Number.isInteger(value)) return String(value);
  if (Object.is(value, -0)) return "-0.0";
  return Math.abs(value) < PLAIN_DIGITS_LIMIT ? `${value}.0` : String(value);
}

/** A double as plain text: shortest text that parses back bit for bit, integral ones without `.0` (`1`, `-0`, `NaN`). */
export function doubleText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

/** A Decimal128 as MongoDB prints it: all its digits, trailing zeros included (`1.10`, `1E+3`, `NaN`). */
export function decimal128Text(bytes: Uint8Array, offset: number): string {
  return new Decimal128(bytes.subarray(offset, offset + 16)).toString();
}

/** Whether a double is an integer that a signed 64-bit integer holds. */
export function isInt64(value: number): boolean {
  return Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63;
}

/** An integral double's digits, exactly, without sign of zero. */
export function integralDigits(value: number): string {
  return Number.isSafeInteger(value) ? String(value === 0 ? 0 : value) : String(BigInt(value));
}

/** The parts of a finite decimal, normalised: no leading or trailing zeros in `digits`, which is "" for zero. */
interface DecimalParts {
  readonly negative: boolean;
  readonly digits: string;
  readonly exponent: number;
}

function decimalParts(text: string): DecimalParts | null {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  if (match === null) return null;
  const fraction = match[3] ?? "";
  const all = `${match[2]}${fraction}`.replace(/^0+/, "");
  const digits = all.replace(/0+$/, "");
  const exponent = Number(match[4] ?? 0) - fraction.length + (all.length - digits.length);
  return { negative: match[1] === "-", digits, exponent: digits === "" ? 0 : exponent };
}

/** A double as a document's key: integers exactly up to 21 digits, else the shortest text that parses back. */
export function doubleKeyText(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < PLAIN_DIGITS_LIMIT ? integralDigits(value) : String(value);
}

/**
 * A Decimal128 as a document's key, so that it prints as every number that MongoDB holds equal to it: integers exactly
 * up to 21 digits; what equals a double (rounded to 34 digits, as MongoDB compares them) as that double; anything else
 * in Decimal128's own form without trailing zeros.
 */
export function decimalKeyText(text: string): string {
  const parts = decimalParts(text);
  if (parts === null) return text; // NaN and the infinities: spelled as the doubles are
  const { negative, digits, exponent } = parts;
  const sign = negative ? "-" : "";
  if (digits === "") return "0";
  if (exponent >= 0 && digits.length + exponent <= 21) return `${sign}${digits}${"0".repeat(exponent)}`;
  const nearest = Number(text);
  if (Number.isFinite(nearest) && nearest !== 0) {
    const rounded = decimalParts(nearest.toExponential(33));
    if (rounded?.digits === digits && rounded.exponent === exponent) return doubleKeyText(nearest);
  }
  return Decimal128.fromString(`${sign}${digits}E${exponent}`).toString();
}

/** An integral decimal within 64 bits as digits, else null. */
export function decimalInt64Text(text: string): string | null {
  const key = decimalKeyText(text);
  if (!/^-?\d{1,19}$/.test(key)) return null;
  return BigInt.asIntN(64, BigInt(key)) === BigInt(key) ? key : null;
}
