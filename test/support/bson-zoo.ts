import {
  BSON,
  BSONRegExp,
  BSONSymbol,
  Binary,
  Code,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from "mongodb";

/** One value of BSON: its type byte and its bytes, so that those which no driver writes are there too. */
export interface ZooValue {
  readonly name: string;
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** A value as the library writes it. */
function value(name: string, of: unknown): ZooValue {
  const document = BSON.serialize({ v: of }, { ignoreUndefined: false });
  const type = document[4];
  if (type === undefined) throw new Error(`${name} was not written`);
  return { name, type, bytes: document.subarray(7, -1) };
}

function text(of: string): Buffer {
  const bytes = Buffer.from(`${of}\0`);
  const length = Buffer.alloc(4);
  length.writeInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Every BSON type, and of each the values that are easily got wrong. */
export const BSON_ZOO: readonly ZooValue[] = [
  value("double 1.5", new Double(1.5)),
  value("double integral", new Double(42)),
  value("double 0.1", new Double(0.1)),
  value("double smallest", new Double(5e-324)),
  value("double largest", new Double(Number.MAX_VALUE)),
  value("double 2^53+2", new Double(9_007_199_254_740_994)),
  value("double 2^63", new Double(2 ** 63)),
  value("double -2^63", new Double(-(2 ** 63))),
  value("double 1e21", new Double(1e21)),
  value("double negative zero", new Double(-0)),
  value("double NaN", new Double(Number.NaN)),
  value("double infinity", new Double(Number.POSITIVE_INFINITY)),
  value("double negative infinity", new Double(Number.NEGATIVE_INFINITY)),
  value("string", "hello"),
  value("string empty", ""),
  value("string of digits", "0123"),
  value("string like a date", "2020-01-01T00:00:00.000Z"),
  value("string with quotes and controls", `"'\\\u0001\u001f\n\t\r`),
  value("string with U+0000", "a\u0000b"),
  value("string beyond the BMP", "€ 😀 \u{10FFFF} \u2028"),
  value("document", { b: 1, a: { c: [true, null] } }),
  value("document empty", {}),
  // JavaScript's objects would put "1" first.
  {
    name: "document with digits as keys",
    type: 0x03,
    bytes: documentOfInts([
      ["b", 1],
      ["10", 2],
      ["1", 3],
    ]),
  },
  {
    name: "document with keys that are no names",
    type: 0x03,
    bytes: documentOfInts([
      ["__proto__", 1],
      ["constructor", 2],
      ["a.b", 3],
      ["$set", 4],
      ["", 5],
    ]),
  },
  value("document like Extended JSON", { $oid: "not one" }),
  value("document of wide integers", { long: Long.fromString("9007199254740993"), double: new Double(3) }),
  value("array", [1, "two", [new Double(3)], { four: 4 }]),
  value("array empty", []),
  value("binary", new Binary(Buffer.from([0, 1, 254, 255]))),
  value("binary empty", new Binary(Buffer.alloc(0))),
  value("binary user-defined", new Binary(Buffer.from("abc"), 0x80)),
  value("binary old subtype", new Binary(Buffer.from("abc"), 2)),
  value("uuid", new UUID("00112233-4455-6677-8899-aabbccddeeff")),
  value("uuid old subtype", new Binary(Buffer.alloc(16, 7), 3)),
  { name: "undefined", type: 0x06, bytes: new Uint8Array(0) },
  value("objectId", new ObjectId("0123456789abcdef01234567")),
  value("bool true", true),
  value("bool false", false),
  value("date", new Date(1_700_000_000_123)),
  value("date whole second", new Date(1_700_000_000_000)),
  value("date before 1970", new Date(-1)),
  value("date year 12000", new Date(Date.UTC(12_000, 0, 1))),
  { name: "date out of range", type: 0x09, bytes: BSON.serialize({ v: Long.MAX_VALUE }).subarray(7, -1) },
  value("null", null),
  value("regular expression", new BSONRegExp("^a.b$", "imx")),
  { name: "DBPointer", type: 0x0c, bytes: Buffer.concat([text("db.coll"), Buffer.alloc(12, 9)]) },
  value("code", new Code("function () { return 1; }")),
  value("symbol", new BSONSymbol("sym")),
  value("code with scope", new Code("x", { y: new Int32(1) })),
  value("int32", new Int32(-7)),
  value("int32 zero", new Int32(0)),
  value("int32 largest", new Int32(2_147_483_647)),
  value("timestamp", new Timestamp({ t: 4_000_000_000, i: 7 })),
  value("int64 small", Long.fromNumber(5)),
  value("int64 beyond 2^53", Long.fromString("9007199254740993")),
  value("int64 largest", Long.MAX_VALUE),
  value("int64 smallest", Long.MIN_VALUE),
  value("decimal 1.10", Decimal128.fromString("1.10")),
  value("decimal integral", Decimal128.fromString("1E+3")),
  value("decimal long", Decimal128.fromString("1234567890.123456789012345678901234")),
  value("decimal huge", Decimal128.fromString("9.9E+6000")),
  value("decimal negative zero", Decimal128.fromString("-0")),
  value("decimal NaN", Decimal128.fromString("NaN")),
  value("decimal infinity", Decimal128.fromString("-Infinity")),
  value("minKey", new MinKey()),
  value("maxKey", new MaxKey()),
];

/** A whole document from fields given as bytes, in that order. */
export function documentOf(fields: readonly (readonly [name: string, value: Omit<ZooValue, "name">])[]): Uint8Array {
  const parts = fields.map(([name, { type, bytes }]) =>
    Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`), bytes]),
  );
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(4);
  length.writeInt32LE(body.length + 5);
  return Buffer.concat([length, body, Buffer.from([0])]);
}

/** A value that the library writes, for `documentOf`. */
export function zooValue(of: unknown): ZooValue {
  return value("", of);
}

function documentOfInts(fields: readonly (readonly [string, number])[]): Uint8Array {
  return documentOf(fields.map(([name, number]) => [name, value(name, new Int32(number))] as const));
}
