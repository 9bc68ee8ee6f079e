import { Binary, Decimal128, Double, Int32, Long, ObjectId, serialize, Timestamp } from "bson";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compileRowMapper } from "../entity/row-mapper.ts";
import { validateEntity } from "../entity/validate-entity.ts";
import { inferShape } from "./infer-shape.ts";

const NAMES = { name: "users", client: "main", source: "users" };

function infer(
  documents: readonly object[],
  indexes: readonly (readonly string[])[] = [],
): ReturnType<typeof inferShape> {
  return inferShape(
    NAMES,
    documents.map((document) => Buffer.from(serialize(document))),
    indexes,
  );
}

function typesOf(documents: readonly object[]): Record<string, string> {
  return Object.fromEntries(infer(documents).columns.map(({ name, type }) => [name, type]));
}

test("each column has the plainest type that takes all of its values", () => {
  expect(
    typesOf([
      {
        _id: 1,
        s: "a",
        i: new Int32(1),
        n: new Int32(1),
        d: new Date(0),
        b: true,
        l: [1],
        x: "a",
        m: { a: 1 },
        z: null,
      },
      {
        _id: 2,
        s: new ObjectId(),
        i: Long.MAX_VALUE,
        n: new Double(1.5),
        b: null,
        x: new Int32(1),
        p: Decimal128.fromString("1.10"),
      },
      { _id: 3, u: new Binary(Buffer.alloc(16), 4), t: new Timestamp({ t: 1, i: 1 }), w: [1], y: new Double(NaN) },
      { _id: 4, w: { a: 1 } },
    ]),
  ).toEqual({
    s: "string",
    i: "integer",
    n: "number",
    d: "string",
    b: "bool",
    l: "jsonb",
    x: "any",
    m_a: "integer",
    z: "any",
    p: "string",
    u: "string",
    t: "any",
    w: "jsonb",
    // A NaN is no REAL, and `any` takes none either.
    y: "jsonb",
  });
});

test("documents inside become columns of their own down to a depth; maps and deeper ones stay JSON", () => {
  const map = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`k${index}`, index]));
  const { columns } = infer([
    { _id: "a", address: { city: "Bern", geo: { at: { lat: 1.5 } } }, map, "odd name": 1, "it's": 1, id: 5 },
    { _id: "b", address: null },
  ]);
  expect(columns.map(({ name, type, path, found }) => [name, type, path, found])).toEqual([
    ["address_city", "string", "$.address.city", 1],
    ["address_geo_at", "jsonb", "$.address.geo.at", 1],
    ["map", "jsonb", "$.map", 1],
    ["odd_name", "integer", "$['odd name']", 1],
    ["it_s", "integer", "$['it\\'s']", 1],
    ["id_2", "integer", "$.id", 1],
  ]);
});

test("the id is a number where all are integers; the collection's indexes over columns become indexes", () => {
  const documents = [{ _id: 1, email: "a", at: { city: "b" } }];
  const { definition } = infer(documents, [["email"], ["at.city", "email"], ["gone"], ["email"]]);
  expect(definition.shape.id_column).toEqual({ path: "$._id", type: "number" });
  expect(definition.shape.indexes).toEqual([
    { name: "by_email", columns: ["email"] },
    { name: "by_at_city_email", columns: ["at_city", "email"] },
  ]);
  expect(
    infer([
      { _id: 1, a: 1 },
      { _id: new ObjectId(), a: 1 },
    ]).definition.shape.id_column.type,
  ).toBe("string");
});

test("whatever the documents hold, the definition is valid and takes every value", () => {
  const scalar = fc.oneof(
    fc.string(),
    fc.boolean(),
    fc.constant(null),
    fc.integer().map((value) => new Int32(value | 0)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => Long.fromBigInt(value)),
    fc.double().map((value) => new Double(value)),
    fc.date({ noInvalidDate: true }),
    fc.constant(new ObjectId()),
    fc.constantFrom("NaN", "1.10", "1E+6000").map((text) => Decimal128.fromString(text)),
    fc.array(fc.integer()),
  );
  const name = fc
    .oneof(fc.constantFrom("a", "b", "A", "id", "data", "__proto__"), fc.string({ minLength: 1 }))
    .filter((text) => !text.includes("\0"));
  const value = fc.oneof(scalar, fc.dictionary(name, scalar, { maxKeys: 4 }));
  const document = fc
    .record({ _id: fc.integer(), a: value })
    .chain((base) => fc.dictionary(name, value, { maxKeys: 5 }).map((more) => ({ ...more, ...base })));
  fc.assert(
    fc.property(fc.array(document, { minLength: 1, maxLength: 5 }), (documents) => {
      const bytes = documents.map((one) => Buffer.from(serialize(one)));
      const { definition } = inferShape(NAMES, bytes, []);
      expect(validateEntity(definition, { sourceNames: ["main"] })).toEqual(definition);
      const mapper = compileRowMapper({ ...definition, id: 1, created_at: "" });
      expect(bytes.flatMap((one) => mapper.map(one).rejects)).toEqual([]);
    }),
  );
});
