import { Decimal128, Double, Int32, Long } from "bson";
import { isNumeric, numberOf } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";

const INT32_MAX = 2n ** 31n - 1n;
const INT64_MAX = 2n ** 63n - 1n;

/** How two numbers are combined: by `$inc` or by `$mul`. */
export type Arithmetic = "add" | "multiply";

/**
 * Combines two numbers as MongoDB does: the result has the wider of their types, an Int32 that overflows becomes an
 * Int64 (MongoDB manual, "$inc", "$mul").
 *
 * @throws CommandError 14 for what is not a number, 2 where an Int64 overflows
 */
export function combine(a: unknown, b: unknown, how: Arithmetic): unknown {
  if (!isNumeric(a) || !isNumeric(b))
    throw new CommandError(14, "Cannot apply arithmetic to a value of non-numeric type");
  if (a instanceof Decimal128 || b instanceof Decimal128) return combineDecimals(String(a), String(b), how);
  const isReal = (value: unknown): boolean =>
    value instanceof Double || (typeof value === "number" && !Number.isInteger(value));
  if (isReal(a) || isReal(b)) {
    const [x, y] = [numberOf(a) ?? 0, numberOf(b) ?? 0];
    return new Double(how === "add" ? x + y : x * y);
  }
  const [x, y] = [BigInt(String(a)), BigInt(String(b))];
  const result = how === "add" ? x + y : x * y;
  if (!(a instanceof Long) && !(b instanceof Long) && result <= INT32_MAX && result >= -INT32_MAX - 1n) {
    return new Int32(Number(result));
  }
  if (result > INT64_MAX || result < -INT64_MAX - 1n) throw new CommandError(2, "Failed to apply operation: overflow");
  return Long.fromBigInt(result);
}

function combineDecimals(a: string, b: string, how: Arithmetic): Decimal128 {
  const x = decimalParts(a);
  const y = decimalParts(b);
  if (x === null || y === null)
    return Decimal128.fromString(String(how === "add" ? Number(a) + Number(b) : Number(a) * Number(b)));
  if (how === "multiply") return decimalOf(x.coefficient * y.coefficient, x.exponent + y.exponent);
  const exponent = Math.min(x.exponent, y.exponent);
  const scale = (part: { coefficient: bigint; exponent: number }): bigint =>
    part.coefficient * 10n ** BigInt(part.exponent - exponent);
  return decimalOf(scale(x) + scale(y), exponent);
}

function decimalOf(coefficient: bigint, exponent: number): Decimal128 {
  return Decimal128.fromStringWithRounding(`${coefficient}E${exponent}`);
}

/** Null for infinities and NaN. */
function decimalParts(text: string): { coefficient: bigint; exponent: number } | null {
  const match = /^(-?\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  if (match === null) return null;
  const [, whole = "0", fraction = "", exponent = "0"] = match;
  return { coefficient: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length };
}
