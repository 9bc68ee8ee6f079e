import { BSON, Binary, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from "bson";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareValues, keyOfValue, typeBracketOf } from "./key-string.ts";

/** A number of any BSON type, with its exact value as a fraction over 10^20 where that is possible. */
const integers = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const scalars: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer().map((value) => new Int32(value)),
  integers.map((value) => Long.fromBigInt(value)),
  fc.double().map((value) => new Double(value)),
  fc.string({ unit: "binary" }),
  fc.boolean(),
  fc.constant(null),
  fc.date({ noInvalidDate: true }),
  fc.uint8Array({ maxLength: 20 }).map((bytes) => new Binary(bytes)),
  fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => new ObjectId(bytes)),
  fc.constantFrom(new MinKey(), new MaxKey(), new Timestamp({ t: 1, i: 2 })),
);

function sign(order: number): number {
  return Math.sign(order);
}

describe("the key string", () => {
  test("orders Int64 as integers", () => {
    fc.assert(
      fc.property(integers, integers, (a, b) => {
        const expected = a < b ? -1 : a > b ? 1 : 0;
        expect(sign(compareValues(Long.fromBigInt(a), Long.fromBigInt(b)))).toBe(expected);
      }),
    );
  });

  test("orders doubles as doubles, NaN first, both zeros equal", () => {
    fc.assert(
      fc.property(fc.double(), fc.double(), (a, b) => {
        const rank = (value: number): number => (Number.isNaN(value) ? -1 : 0);
        const expected = rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0);
        expect(sign(compareValues(new Double(a), new Double(b)))).toBe(sign(expected));
      }),
    );
  });

  test("orders an Int64 and a double by their exact values", () => {
    fc.assert(
      fc.property(integers, fc.double({ noNaN: true, min: -1e19, max: 1e19 }), (a, b) => {
        // Beyond 2^53 only the whole part of a double can be compared with a bigint, and doubles are whole there.
        const whole = BigInt(Math.trunc(b));
        const fraction = b - Math.trunc(b);
        const expected = a < whole ? -1 : a > whole ? 1 : -Math.sign(fraction);
        expect(sign(compareValues(Long.fromBigInt(a), new Double(b)))).toBe(expected + 0);
      }),
    );
  });

  test("orders decimals by their exact values, also among doubles", () => {
    const decimal = fc.tuple(integers, fc.integer({ min: -12, max: 12 }));
    fc.assert(
      fc.property(decimal, decimal, ([a, x], [b, y]) => {
        const scaled = (coefficient: bigint, exponent: number): bigint => coefficient * 10n ** BigInt(exponent + 12);
        const expected = scaled(a, x) < scaled(b, y) ? -1 : scaled(a, x) > scaled(b, y) ? 1 : 0;
        const order = compareValues(Decimal128.fromString(`${a}E${x}`), Decimal128.fromString(`${b}E${y}`));
        expect(sign(order)).toBe(expected);
      }),
    );
    const ascending = [
      "-Infinity",
      "-1E+6000",
      "-0.1",
      "-1E-6000",
      "0",
      "1E-6000",
      "0.1",
      "0.10000000000000001",
      "1E+6000",
      "Infinity",
    ];
    const keys = ascending.map((text) => keyOfValue(Decimal128.fromString(text)));
    expect(keys).toEqual(keys.toSorted());
    expect(compareValues(Decimal128.fromString("0.1"), new Double(0.1))).toBeLessThan(0);
    expect(compareValues(Decimal128.fromString("0.1000000000000001"), new Double(0.1))).toBeGreaterThan(0);
    expect(compareValues(new Double(5e-324), Decimal128.fromString("4.9E-324"))).toBeGreaterThan(0);
  });

  test("is one for equal numbers of different types", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const key = keyOfValue(Long.fromNumber(value));
        expect(keyOfValue(new Double(value))).toBe(key);
        expect(keyOfValue(Decimal128.fromString(`${value}.00`))).toBe(key);
      }),
    );
  });

  test("orders strings by their UTF-8 bytes, NULs included", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
        const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
        expect(sign(compareValues(a, b))).toBe(expected);
      }),
    );
  });

  test("orders documents and arrays field by field, as their first difference says", () => {
    fc.assert(
      fc.property(fc.array(scalars, { maxLength: 4 }), scalars, scalars, (prefix, a, b) => {
        const expected = sign(compareValues(a, b));
        expect(sign(compareValues([...prefix, a], [...prefix, b]))).toBe(expected);
        const documentOf = (last: unknown): Record<string, unknown> =>
          Object.fromEntries([...prefix, last].map((value, index) => [`f${index}`, value]));
        expect(sign(compareValues(documentOf(a), documentOf(b)))).toBe(expected);
        expect(compareValues(prefix, [...prefix, a])).toBeLessThan(0);
      }),
    );
  });

  test("is a total order: keys are equal only for values that are", () => {
    fc.assert(
      fc.property(scalars, scalars, scalars, (a, b, c) => {
        expect(sign(compareValues(a, b))).toBe(-sign(compareValues(b, a)) + 0);
        if (compareValues(a, b) <= 0 && compareValues(b, c) <= 0) expect(compareValues(a, c)).toBeLessThanOrEqual(0);
      }),
    );
  });

  test("brackets a type: what $gt and $lt look at", () => {
    const inside = (value: unknown, of: unknown): boolean => {
      const { low, high } = typeBracketOf(keyOfValue(of));
      return keyOfValue(value) >= low && keyOfValue(value) < high;
    };
    expect(inside(new Double(-1e300), new Int32(1))).toBe(true);
    expect(inside(Decimal128.fromString("Infinity"), new Int32(1))).toBe(true);
    expect(inside("1", new Int32(1))).toBe(false);
    expect(inside(null, new Int32(1))).toBe(false);
    expect(inside(true, false)).toBe(true);
    expect(inside({}, [])).toBe(false);
  });

  test("has MongoDB's bytes for what is common (key_string.cpp), so that tokens look like the server's", () => {
    const hex = (value: unknown): string => Buffer.from(keyOfValue(value), "latin1").toString("hex");
    expect(hex(1)).toBe("2b02");
    expect(hex(128)).toBe("2c0100");
    expect(hex(-1)).toBe("27fd");
    expect(hex(0)).toBe("29");
    expect(hex("ab")).toBe("3c616200");
    expect(hex({ _id: new ObjectId("0123456789abcdef01234567") })).toBe("46645f696400640123456789abcdef0123456700");
    expect(hex(new BSON.UUID("00112233-4455-6677-8899-aabbccddeeff"))).toBe("5a100400112233445566778899aabbccddeeff");
  });
});
