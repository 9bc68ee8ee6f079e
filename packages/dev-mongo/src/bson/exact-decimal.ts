/** A finite number other than zero, exactly: ± 0.DIGITS × 10^exponent, DIGITS without zeros at either end. */
export interface ExactDecimal {
  readonly isNegative: boolean;
  readonly digits: string;
  readonly exponent: number;
}

export type ExactNumber = ExactDecimal | "zero" | "NaN" | "Infinity" | "-Infinity";

function exactDecimal(isNegative: boolean, coefficient: string, exponentOfLastDigit: number): ExactNumber {
  const significant = coefficient.replace(/^0+/, "");
  const digits = significant.replace(/0+$/, "");
  if (digits === "") return "zero";
  return { isNegative, digits, exponent: significant.length + exponentOfLastDigit };
}

/** A 64-bit integer. */
export function exactOfInteger(value: bigint): ExactNumber {
  return exactDecimal(value < 0n, (value < 0n ? -value : value).toString(), 0);
}

/** A double, all of whose binary digits are kept: 0.1 has 55 decimal ones. */
export function exactOfDouble(value: number): ExactNumber {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  if (value === 0) return "zero";
  const magnitude = Math.abs(value);
  if (Number.isInteger(magnitude)) return exactDecimal(value < 0, BigInt(magnitude).toString(), 0);
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, magnitude);
  const word = bits.getBigUint64(0);
  const biased = Number(word >> 52n);
  const fraction = word & 0xf_ffff_ffff_ffffn;
  const mantissa = biased === 0 ? fraction : fraction | 0x10_0000_0000_0000n;
  // mantissa × 2^-shift = mantissa × 5^shift × 10^-shift
  const shift = 1075 - Math.max(biased, 1);
  return exactDecimal(value < 0, (mantissa * 5n ** BigInt(shift)).toString(), -shift);
}

/** The text of a Decimal128, as its `toString` writes it. */
export function exactOfDecimalText(text: string): ExactNumber {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]?\d+))?$/i.exec(text);
  if (match === null) {
    if (/nan/i.test(text)) return "NaN";
    return text.startsWith("-") ? "-Infinity" : "Infinity";
  }
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match;
  return exactDecimal(sign === "-", whole + fraction, Number(exponent) - fraction.length);
}
