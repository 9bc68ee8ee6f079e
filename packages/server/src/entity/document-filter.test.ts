import { BSON, Decimal128, Double, Int32, Long, ObjectId } from "bson";
import { describe, expect, test } from "vitest";
import { compileDocumentFilter } from "./document-filter.ts";

const ID = "65a000000000000000000001";

function matches(filter: Record<string, unknown>, document: Record<string, unknown>): boolean {
  return compileDocumentFilter(filter).matches(BSON.serialize(document));
}

describe("a filter decides as MongoDB does", () => {
  test.each([
    [{ a: 1 }, { a: new Double(1) }, true],
    [{ a: 1 }, { a: Long.fromNumber(1) }, true],
    [{ a: 1 }, { a: Decimal128.fromString("1.00") }, true],
    [{ a: 1 }, { a: "1" }, false],
    [{ a: { $numberLong: "9007199254740993" } }, { a: Long.fromString("9007199254740993") }, true],
    [{ a: { $numberLong: "9007199254740993" } }, { a: Long.fromString("9007199254740992") }, false],
    [{ a: { $gt: 5 } }, { a: "6" }, false],
    [{ a: { $gt: 5, $lte: 7 } }, { a: new Int32(7) }, true],
    [{ a: { $gt: 5, $lte: 7 } }, { a: 8 }, false],
    [{ a: { $gte: { $date: "2026-01-01T00:00:00Z" } } }, { a: new Date("2026-02-01T00:00:00Z") }, true],
    [{ a: { $gte: { $date: "2026-01-01T00:00:00Z" } } }, { a: new Date("2025-02-01T00:00:00Z") }, false],
    [{ a: { $oid: ID } }, { a: new ObjectId(ID) }, true],
    [{ a: { $oid: ID } }, { a: ID }, false],
    [{ "a.b": 2 }, { a: [{ b: 1 }, { b: 2 }] }, true],
    [{ tags: "red" }, { tags: ["blue", "red"] }, true],
    [{ a: null }, {}, true],
    [{ a: null }, { a: 0 }, false],
    [{ a: { $exists: false } }, { a: null }, false],
    [{ a: { $exists: true } }, { a: null }, true],
    [{ a: { $in: [1, "x"] } }, { a: new Double(1) }, true],
    [{ a: { $nin: [1, "x"] } }, { a: "x" }, false],
    [{ a: { $ne: 1 } }, {}, true],
    [{ a: { $not: { $gt: 5 } } }, { a: "text" }, true],
    [{ $or: [{ a: 1 }, { b: 1 }] }, { b: 1 }, true],
    [{ $and: [{ a: 1 }, { b: 1 }] }, { b: 1 }, false],
    [{ $nor: [{ a: 1 }] }, { b: 1 }, true],
    [{ a: { b: 1, c: 2 } }, { a: { b: 1, c: 2 } }, true],
    [{ a: { b: 1, c: 2 } }, { a: { c: 2, b: 1 } }, false],
    [{}, { a: 1 }, true],
  ] as [Record<string, unknown>, Record<string, unknown>, boolean][])("%j on %j: %s", (filter, document, expected) => {
    expect(matches(filter, document)).toBe(expected);
  });
});

describe("what is not simple is refused with its reason", () => {
  test.each([
    [{ $where: "1" }, "$where"],
    [{ $expr: { $gt: ["$a", 1] } }, "$expr"],
    [{ a: { $regex: "x" } }, "regular expression"],
    [{ a: { $regularExpression: { pattern: "x", options: "" } } }, "regular expression"],
    [{ a: { $elemMatch: { b: 1 } } }, "$elemMatch"],
    [{ a: { $gt: 1, b: 2 } }, '"b"'],
    [{ a: { $in: 1 } }, "without an array"],
    [{ a: { $exists: 1 } }, "$exists"],
    [{ a: { $not: 1 } }, "$not"],
    [{ $or: [] }, "$or"],
    [{ $or: [1] }, "$or"],
    [{ a: { b: { $gt: 1 } } }, "$gt"],
    [{ "": 1 }, "path"],
  ])("%j", (filter, reason) => {
    expect(() => compileDocumentFilter(filter)).toThrow(reason);
  });
});
