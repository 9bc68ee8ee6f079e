import {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  Decimal128,
  type Document,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from "bson";
import fc from "fast-check";

/** Field names that break something somewhere. None looks like an integer: JavaScript objects would reorder them. */
const NAMES = [
  "a",
  "b",
  "c",
  "ab",
  "$d",
  "e.f",
  "",
  "__proto__",
  "constructor",
  "é",
  "日本",
  "g h",
  '"',
  "\\",
  "\u007f",
];

const uint8s = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

const text = fc.oneof(
  fc.string({ maxLength: 300 }),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.constantFrom("", "\u0000", "a\u0000b", '"', "\\", "\n\t", "\ufffd", "\u007f", "\u2028", "😀", "x".repeat(200)),
);

const number = fc.oneof(
  fc.double().map((value) => new Double(value)),
  fc
    .constantFrom(0, -0, 1, NaN, Infinity, -Infinity, 2 ** 53, -(2 ** 63), 2 ** 63, 1e21, 5e-324)
    .map((value) => new Double(value)),
  fc.integer().map((value) => new Int32(value)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => Long.fromBigInt(value)),
  uint8s(16).map((bytes) => new Decimal128(bytes)),
  fc
    .constantFrom("0", "-0", "1.10", "1E+3", "NaN", "-Infinity", "1E+6000", "0.1")
    .map((value) => Decimal128.fromString(value)),
);

const leaf = fc.oneof(
  { weight: 5, arbitrary: number },
  { weight: 5, arbitrary: text },
  fc.boolean(),
  fc.constant(null),
  uint8s(12).map((bytes) => new ObjectId(bytes)),
  uint8s(16).map((bytes) => new UUID(bytes)),
  fc.date({ noInvalidDate: true }),
  fc
    .tuple(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(0, 2, 3, 4, 5, 128))
    .map(([bytes, type]) => new Binary(bytes, type)),
  fc
    .tuple(fc.string({ maxLength: 9 }), fc.constantFrom("", "i", "ims"))
    .map(([pattern, options]) => new BSONRegExp(pattern.replaceAll("\u0000", ""), options)),
  fc.tuple(fc.nat(), fc.nat()).map(([t, i]) => new Timestamp({ t, i })),
  fc.constantFrom(new MinKey(), new MaxKey()),
  text.map((value) => new BSONSymbol(value)),
  text.map((value) => new Code(value)),
);

const { document } = fc.letrec<{ value: unknown; document: Document }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 4 }),
    tie("document"),
    fc.tuple(text, tie("document")).map(([code, scope]) => new Code(code, scope)),
  ),
  document: fc
    .uniqueArray(fc.tuple(fc.constantFrom(...NAMES), tie("value")), { maxLength: 6, selector: ([name]) => name })
    .map((fields) => {
      const object = Object.create(null) as Document;
      for (const [name, value] of fields) object[name] = value;
      return object;
    }),
}));

/** Documents of every BSON type that the bson library writes, nested, with awkward names. No `_id`. */
export const arbitraryDocument: fc.Arbitrary<Document> = document;

/** Steps of plain paths that often lead somewhere in an `arbitraryDocument`. */
export const arbitrarySteps: fc.Arbitrary<(string | number)[]> = fc.array(
  fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...NAMES) }, fc.integer({ min: -3, max: 3 })),
  { minLength: 1, maxLength: 4 },
);
