import { BSON, Decimal128, Double, Int32, Long, ObjectId } from "mongodb";
import { expect, test } from "vitest";
import { BSON_ZOO, documentOf } from "../../../../test/support/bson-zoo.ts";
import { idFilter, isExactId } from "./id-filter.ts";
import { singleElementDocument } from "./raw-document.ts";

test.each(BSON_ZOO)("an _id that is $name is asked for with its own bytes, or by its type", (value) => {
  const key = Buffer.from(documentOf([["_id", value]]));
  const filter = idFilter([key]) as { _id: Record<string, unknown> };
  if (isExactId(key)) {
    const asked = Buffer.from(BSON.serialize({ _id: filter._id["$eq"] }, { ignoreUndefined: false }));
    expect(asked.equals(singleElementDocument("_id", value.type, Buffer.from(value.bytes)))).toBe(true);
  } else {
    expect(Object.keys(filter._id)).toHaveLength(1);
    expect(["$type", "$gt", "$lt"]).toContain(Object.keys(filter._id)[0]);
  }
});

test("documents with digits as keys are asked for in their order", () => {
  const digits = BSON_ZOO.find(({ name }) => name === "document with digits as keys");
  if (digits === undefined) throw new Error("the zoo has no such document");
  expect(isExactId(Buffer.from(documentOf([["_id", digits]])))).toBe(true);
});

test("several at once: the exact ones in one list, the others by type", () => {
  const keys = [new ObjectId(), new Int32(1), Long.fromNumber(2), new Double(1.5), Decimal128.fromString("1")].map(
    (_id) => Buffer.from(BSON.serialize({ _id })),
  );
  expect(idFilter(keys)).toMatchObject({ _id: { $in: expect.any(Array) } });
  const undefinedKey = singleElementDocument("_id", 0x06, Buffer.alloc(0));
  expect(idFilter([undefinedKey])).toEqual({ _id: { $type: 6 } });
  expect(idFilter([...keys, undefinedKey])).toEqual({
    $or: [{ _id: { $type: 6 } }, { _id: { $in: expect.any(Array) } }],
  });
});
