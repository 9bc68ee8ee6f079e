import { BSON, Binary, Decimal128, Double, Int32, Long, ObjectId, UUID } from "mongodb";
import { idTypeClass } from "@emcache/cache-file";
import { expect, test } from "vitest";
import { compileRowMapper } from "../entity/row-mapper.ts";
import { makeEntity } from "../entity/testing/make-entity.ts";
import { documentKeyOf } from "./document-key-of.ts";

const byId = compileRowMapper(makeEntity([], { path: "$._id", type: "string" }));

function keyOf(id: unknown): { docId: string; idClass: number } {
  const key = byId.mapKey(BSON.serialize({ _id: id }));
  if (key.docId === null) throw new Error(`${String(id)} has no key`);
  return { docId: key.docId, idClass: idTypeClass(key.idType) };
}

test.each([
  ["ObjectId", new ObjectId()],
  ["string", "a\u0000 b"],
  ["string of digits", "42"],
  ["Int32", new Int32(-42)],
  ["Int64", Long.fromString("9007199254740993")],
  ["Double", new Double(1.5)],
  ["Decimal128", Decimal128.fromString("12345678901234567890.5")],
  ["bool", false],
  ["Date", new Date(1_600_000_000_123)],
  ["UUID", new UUID()],
  ["null", null],
  ["document", { b: new Int32(1), a: ["x", new Double(1.5)] }],
])("%s: the key has the same text and class", (_name, id) => {
  const { docId, idClass } = keyOf(id);
  const documentKey = documentKeyOf(docId, idClass, byId);
  expect(documentKey).not.toBeNull();
  const found = byId.mapKey(documentKey ?? Buffer.alloc(0));
  expect(found).toMatchObject({ docId });
  expect("idType" in found && idTypeClass(found.idType)).toBe(idClass);
});

test("a text that is not the class's value has no key", () => {
  expect(documentKeyOf("no id", 0x07, byId)).toBeNull();
  const { docId, idClass } = keyOf(new Binary(Buffer.from("some bytes"), 0x80));
  const documentKey = documentKeyOf(docId, idClass, byId);
  // Whatever is told of it is the same row, or nothing.
  if (documentKey !== null) expect(byId.mapKey(documentKey)).toMatchObject({ docId });
});

test("of a part of _id, no document can be told", () => {
  const byPart = compileRowMapper(makeEntity([], { path: "$._id.n", type: "string" }));
  expect(documentKeyOf("1", 0x01, byPart)).toBeNull();
});
