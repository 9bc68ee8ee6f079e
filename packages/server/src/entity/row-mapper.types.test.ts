import { COLUMN_TYPES } from "@emcache/protocol";
import { Decimal128 } from "bson";
import { describe, expect, test } from "vitest";
import { compileRowMapper } from "./row-mapper.ts";
import { int32Bytes, int64Bytes, rawDocument, type RawElement, stringBytes } from "./testing/bson-bytes.ts";
import { makeEntity } from "./testing/make-entity.ts";

/** A value, and what each of COLUMN_TYPES makes of it, in that order; null: NULL and a reject. */
interface ZooAnimal {
  readonly name: string;
  readonly type: number;
  readonly value: Uint8Array;
  readonly columns: readonly (string | null)[];
  /** As an `_id` of type string and of type number; null: a reject. */
  readonly id: readonly [string | null, string | null];
}

function doubleBytes(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
}

function double(value: number, columns: (string | null)[], id: [string | null, string | null]): ZooAnimal {
  return { name: `Double ${value}`, type: 1, value: doubleBytes(value), columns, id };
}

function decimal(text: string, columns: (string | null)[], id: [string | null, string | null]): ZooAnimal {
  return { name: `Decimal128 ${text}`, type: 0x13, value: Buffer.from(Decimal128.fromString(text).bytes), columns, id };
}

/** What only jsonb and any hold, both as Extended JSON; a key as its text. */
function exotic(name: string, type: number, value: Uint8Array, json: string): ZooAnimal {
  return { name, type, value, columns: [null, null, null, null, json, json], id: [json, null] };
}

const UUID_HEX = "00112233445566778899aabbccddeeff";
const UUID_TEXT = "00112233-4455-6677-8899-aabbccddeeff";
const OID = "0123456789abcdef01234567";
const inner = rawDocument([
  [0x10, "b", int32Bytes(1)],
  [0x10, "10", int32Bytes(2)],
  [0x12, "2", int64Bytes(2n ** 60n + 1n)],
  [0x01, "a", doubleBytes(1)],
]);
const list = rawDocument([
  [0x02, "0", stringBytes("x")],
  [0x0a, "1", Buffer.alloc(0)],
]);

function binary(subType: number, hex: string): Buffer {
  return Buffer.concat([int32Bytes(hex.length / 2), Buffer.from([subType]), Buffer.from(hex, "hex")]);
}

function int64(value: bigint, real: string): ZooAnimal {
  const digits = String(value);
  return {
    name: `Int64 ${digits}`,
    type: 0x12,
    value: int64Bytes(value),
    columns: [`"${digits}"`, digits, real, null, digits, digits],
    id: [digits, digits],
  };
}

function date(ms: bigint, text: string | null, json: string): ZooAnimal {
  const quoted = text === null ? null : `"${text}"`;
  const inJson = `{"$date":${json}}`;
  return {
    name: `Date ${ms}`,
    type: 9,
    value: int64Bytes(ms),
    columns: [quoted, String(ms), null, null, inJson, quoted],
    id: [text ?? inJson, null],
  };
}

const ZOO: readonly ZooAnimal[] = [
  double(1.5, ['"1.5"', null, "1.5", null, "1.5", "1.5"], ["1.5", null]),
  double(42, ['"42"', "42", "42.0", null, "42.0", "42.0"], ["42", "42"]),
  double(-0, ['"-0"', "0", "-0.0", null, "-0.0", "-0.0"], ["0", "0"]),
  double(
    0.1 + 0.2,
    ['"0.30000000000000004"', null, "0.30000000000000004", null, "0.30000000000000004", "0.30000000000000004"],
    ["0.30000000000000004", null],
  ),
  double(
    2 ** 60,
    [
      '"1152921504606847000"',
      "1152921504606846976",
      "1152921504606847000.0",
      null,
      "1152921504606847000.0",
      "1152921504606847000.0",
    ],
    ["1152921504606846976", "1152921504606846976"],
  ),
  double(
    -(2 ** 63),
    [
      '"-9223372036854776000"',
      "-9223372036854775808",
      "-9223372036854776000.0",
      null,
      "-9223372036854776000.0",
      "-9223372036854776000.0",
    ],
    ["-9223372036854775808", "-9223372036854775808"],
  ),
  double(
    2 ** 63,
    ['"9223372036854776000"', null, "9223372036854776000.0", null, "9223372036854776000.0", "9223372036854776000.0"],
    ["9223372036854775808", null],
  ),
  double(1e300, ['"1e+300"', null, "1e+300", null, "1e+300", "1e+300"], ["1e+300", null]),
  double(NaN, ['"NaN"', null, null, null, '{"$numberDouble":"NaN"}', null], ["NaN", null]),
  double(-Infinity, ['"-Infinity"', null, null, null, '{"$numberDouble":"-Infinity"}', null], ["-Infinity", null]),
  {
    name: "string",
    type: 2,
    value: stringBytes('a"b\u0000é😀'),
    columns: ['"a\\"b\\u0000é😀"', null, null, null, '"a\\"b\\u0000é😀"', '"a\\"b\\u0000é😀"'],
    id: ['a"b\u0000é😀', null],
  },
  {
    ...exotic("document", 3, inner, '{"b":1,"10":2,"2":1152921504606846977,"a":1.0}'),
    id: ['{"b":1,"10":2,"2":1152921504606846977,"a":1}', null],
  },
  exotic("array", 4, list, '["x",null]'),
  exotic("Binary", 5, binary(0, "616263"), '{"$binary":{"base64":"YWJj","subType":"00"}}'),
  exotic("Binary subtype 2", 5, binary(2, "03000000616263"), '{"$binary":{"base64":"YWJj","subType":"02"}}'),
  exotic("legacy UUID", 5, binary(3, UUID_HEX), '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"03"}}'),
  exotic("short UUID", 5, binary(4, "00"), '{"$binary":{"base64":"AA==","subType":"04"}}'),
  {
    name: "UUID",
    type: 5,
    value: binary(4, UUID_HEX),
    columns: [
      `"${UUID_TEXT}"`,
      null,
      null,
      null,
      '{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}',
      `"${UUID_TEXT}"`,
    ],
    id: [UUID_TEXT, null],
  },
  {
    name: "undefined",
    type: 6,
    value: Buffer.alloc(0),
    columns: ["null", "null", "null", "null", "null", "null"],
    id: ['{"$undefined":true}', null],
  },
  {
    name: "ObjectId",
    type: 7,
    value: Buffer.from(OID, "hex"),
    columns: [`"${OID}"`, null, null, null, `{"$oid":"${OID}"}`, `"${OID}"`],
    id: [OID, null],
  },
  {
    name: "true",
    type: 8,
    value: Buffer.from([1]),
    columns: ['"true"', "1", null, "1", "true", "1"],
    id: ["true", null],
  },
  {
    name: "false",
    type: 8,
    value: Buffer.from([0]),
    columns: ['"false"', "0", null, "0", "false", "0"],
    id: ["false", null],
  },
  date(0n, "1970-01-01T00:00:00.000Z", '"1970-01-01T00:00:00Z"'),
  date(-1n, "1969-12-31T23:59:59.999Z", '{"$numberLong":"-1"}'),
  date(1_000_000_000_123n, "2001-09-09T01:46:40.123Z", '"2001-09-09T01:46:40.123Z"'),
  date(951_782_400_000n, "2000-02-29T00:00:00.000Z", '"2000-02-29T00:00:00Z"'),
  date(253_402_300_800_000n, "+010000-01-01T00:00:00.000Z", '{"$numberLong":"253402300800000"}'),
  date(-62_198_755_200_000n, "-000001-01-01T00:00:00.000Z", '{"$numberLong":"-62198755200000"}'),
  date(-62_167_219_200_000n, "0000-01-01T00:00:00.000Z", '{"$numberLong":"-62167219200000"}'),
  date(2n ** 63n - 1n, null, '{"$numberLong":"9223372036854775807"}'),
  {
    name: "null",
    type: 0x0a,
    value: Buffer.alloc(0),
    columns: ["null", "null", "null", "null", "null", "null"],
    id: ["null", null],
  },
  exotic("regex", 0x0b, Buffer.from('a"/\0ix\0'), '{"$regularExpression":{"pattern":"a\\"/","options":"ix"}}'),
  exotic(
    "DBPointer",
    0x0c,
    Buffer.concat([stringBytes("db.c"), Buffer.from(OID, "hex")]),
    `{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"${OID}"}}}`,
  ),
  exotic("code", 0x0d, stringBytes("x=1"), '{"$code":"x=1"}'),
  exotic("symbol", 0x0e, stringBytes("s"), '{"$symbol":"s"}'),
  exotic(
    "code with scope",
    0x0f,
    Buffer.concat([int32Bytes(4 + 6 + list.length), stringBytes("x"), list]),
    '{"$code":"x","$scope":{"0":"x","1":null}}',
  ),
  {
    name: "Int32",
    type: 0x10,
    value: int32Bytes(-7),
    columns: ['"-7"', "-7", "-7.0", null, "-7", "-7"],
    id: ["-7", "-7"],
  },
  exotic("Timestamp", 0x11, int64Bytes((-1n << 32n) | 7n), '{"$timestamp":{"t":4294967295,"i":7}}'),
  int64(1n, "1.0"),
  int64(2n ** 53n + 1n, "9007199254740992.0"),
  int64(2n ** 63n - 1n, "9223372036854776000.0"),
  int64(-(2n ** 63n), "-9223372036854776000.0"),
  int64(-(2n ** 53n), "-9007199254740992.0"),
  decimal("1.10", ['"1.10"', null, "1.1", null, '{"$numberDecimal":"1.10"}', '"1.10"'], ["1.1", null]),
  decimal("1E0", ['"1"', null, "1.0", null, '{"$numberDecimal":"1"}', '"1"'], ["1", "1"]),
  decimal("1.000", ['"1.000"', null, "1.0", null, '{"$numberDecimal":"1.000"}', '"1.000"'], ["1", "1"]),
  decimal("-0.00", ['"-0.00"', null, "-0.0", null, '{"$numberDecimal":"-0.00"}', '"-0.00"'], ["0", "0"]),
  decimal(
    "9223372036854775807",
    [
      '"9223372036854775807"',
      null,
      "9223372036854776000.0",
      null,
      '{"$numberDecimal":"9223372036854775807"}',
      '"9223372036854775807"',
    ],
    ["9223372036854775807", "9223372036854775807"],
  ),
  decimal(
    "9223372036854775808",
    [
      '"9223372036854775808"',
      null,
      "9223372036854776000.0",
      null,
      '{"$numberDecimal":"9223372036854775808"}',
      '"9223372036854775808"',
    ],
    ["9223372036854775808", null],
  ),
  decimal("1E+400", ['"1E+400"', null, null, null, '{"$numberDecimal":"1E+400"}', '"1E+400"'], ["1E+400", null]),
  decimal("NaN", ['"NaN"', null, null, null, '{"$numberDecimal":"NaN"}', '"NaN"'], ["NaN", null]),
  exotic("MaxKey", 0x7f, Buffer.alloc(0), '{"$maxKey":1}'),
  exotic("MinKey", 0xff, Buffer.alloc(0), '{"$minKey":1}'),
];

const ID: RawElement = [0x10, "_id", int32Bytes(1)];

describe("each BSON type", () => {
  const columns = compileRowMapper(makeEntity(COLUMN_TYPES.map((type) => [type, "$.v"])));
  const stringId = compileRowMapper(makeEntity([["any", "$.v"]]));
  const numberId = compileRowMapper(makeEntity([["any", "$.v"]], { path: "$._id", type: "number" }));

  test.each(ZOO)("$name in each column type", ({ type, value, columns: expected }) => {
    const row = columns.map(rawDocument([ID, [type, "v", value]]));
    if (row.docId === null) throw new Error("no id");
    expect(row.data).toBe(`[${expected.map((text) => text ?? "null").join(",")}]`);
    expect(row.rejects.map((reject) => reject.column)).toEqual(
      expected.flatMap((text, index) => (text === null ? [`c${index}`] : [])),
    );
    for (const reject of row.rejects) {
      expect(reject).toMatchObject({ version: 7, docId: "1" });
      expect(reject.reason).toMatch(/\w+ \w+/);
      expect(reject.sample).not.toBe("");
    }
  });

  test.each(ZOO)("$name as an _id", ({ type, value, id: [text, integer] }) => {
    const key = rawDocument([
      [0x02, "shard", stringBytes("s")],
      [type, "_id", value],
    ]);
    for (const [mapper, expected] of [
      [stringId, text],
      [numberId, integer],
    ] as const) {
      const mapped = mapper.mapKey(key);
      const row = mapper.map(key);
      expect(mapped.docId).toBe(expected);
      expect(row.docId).toBe(expected);
      if (mapped.docId !== null && row.docId !== null) expect([mapped.idType, row.idType]).toEqual([type, type]);
      else expect(row.rejects).toEqual([expect.objectContaining({ docId: "", column: null })]);
    }
  });
});

describe("numbers that MongoDB holds equal print the same as keys", () => {
  const mapper = compileRowMapper(makeEntity([["any", "$.v"]]));
  const idOf = (type: number, value: Uint8Array): string | null =>
    mapper.mapKey(rawDocument([[type, "_id", value]])).docId;
  const ofDecimal = (text: string): string | null => idOf(0x13, Buffer.from(Decimal128.fromString(text).bytes));
  const ofDouble = (value: number): string | null => idOf(1, doubleBytes(value));

  test.each([
    [0.5, ["0.5", "0.50", "5E-1"]],
    [1e20, ["1E20", "100000000000000000000", "1000E17"]],
    [2 ** 70, ["1180591620717411303424", "1180591620717411303424.000"]],
    [0.1, ["0.1000000000000000055511151231257827"]],
    [-(2 ** 100), ["-1267650600228229401496703205376"]],
    [Infinity, ["Infinity"]],
  ])("%s", (value, decimals) => {
    for (const text of decimals) expect(ofDecimal(text)).toBe(ofDouble(value));
  });

  test("and others differently", () => {
    expect(ofDecimal("1E300")).not.toBe(ofDouble(1e300));
    expect(ofDecimal("9223372036854776000")).not.toBe(ofDouble(2 ** 63));
    expect(ofDecimal("1E6111")).toBe("1E+6111");
    expect(ofDecimal("10E6110")).toBe("1E+6111");
  });

  test("documents as keys too", () => {
    const sub = (type: number, value: Uint8Array): Buffer => rawDocument([[type, "a", value]]);
    expect(idOf(3, sub(1, doubleBytes(1)))).toBe('{"a":1}');
    expect(idOf(3, sub(0x10, int32Bytes(1)))).toBe('{"a":1}');
  });
});
