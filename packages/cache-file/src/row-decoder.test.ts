import type { Column, ColumnType } from "@emcache/protocol";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { jsonArraySlices } from "./json-array-slices.ts";
import { compileRowDecoder, type SqliteValue } from "./row-decoder.ts";

function decode(type: ColumnType, text: string): SqliteValue {
  const column: Column = { name: "c", type, path: "$.c" };
  const values: SqliteValue[] = [];
  compileRowDecoder([column])(`[${text}]`, values);
  return values[0] as SqliteValue;
}

describe("jsonArraySlices", () => {
  it("gives each element as it stands, and agrees with JSON.parse on any array", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.constantFrom(undefined, 1, "\t"), (values, indent) => {
        const slices = jsonArraySlices(JSON.stringify(values, null, indent));
        expect(slices.map((slice) => JSON.parse(slice) as unknown)).toEqual(JSON.parse(JSON.stringify(values)));
      }),
    );
  });

  it.each(["", "{}", "[", "[1", '["a', "[1 2]", "[{]"])("refuses %s", (text) => {
    expect(() => jsonArraySlices(text)).toThrow(SyntaxError);
  });
});

describe("compileRowDecoder", () => {
  it.each<[ColumnType, string, SqliteValue]>([
    ["string", '"a\\u0000b\\"\\\\"', 'a\u0000b"\\'],
    ["string", '"\\ud800"', "\ud800"],
    ["string", "null", null],
    ["integer", "9223372036854775807", 9223372036854775807n],
    ["integer", "-9007199254740993", -9007199254740993n],
    ["integer", "41", 41],
    ["number", "1e400", Infinity],
    ["number", "0.1", 0.1],
    ["number", "9007199254740993", 9007199254740992],
    ["bool", "true", 1n],
    ["bool", "false", 0n],
    ["jsonb", '{"a": [1.0, "]}\\""]}', '{"a": [1.0, "]}\\""]}'],
    ["jsonb", '"text"', '"text"'],
    ["jsonb", "null", null],
    ["any", "1", 1n],
    ["any", "1.0", 1],
    ["any", "1e3", 1000],
    ["any", "9007199254740993", 9007199254740993n],
    ["any", "9223372036854775808", 9223372036854775808],
    ["any", '"123"', "123"],
    ["any", '[1, {"a":"}"}]', '[1, {"a":"}"}]'],
    ["any", "true", 1n],
    ["any", "false", 0n],
    ["any", "null", null],
  ])("decodes %s %s", (type, text, value) => {
    expect(decode(type, text)).toBe(value);
  });

  it("refuses a row of another width", () => {
    expect(() => decode("string", "1, 2")).toThrow("2 values");
    expect(() => decode("any", "1, 2")).toThrow("2 values");
  });
});
