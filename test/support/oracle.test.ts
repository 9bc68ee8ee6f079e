import { join } from "node:path";
import Database from "better-sqlite3";
import {
  BSON,
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
import { afterAll, beforeAll, expect, test } from "vitest";
import { readBson } from "./bson-node.ts";
import { canonicalJson, relaxedJsonOf } from "./canonical-json.ts";
import type { EntityRequest } from "./emcache-api.ts";
import { compareCache, expectedTable } from "./oracle.ts";
import { compilePath, mapCell, mapId } from "./oracle-mapping.ts";
import { useTestFolder } from "./use-test-folder.ts";
import { type TestMongo, startTestMongo } from "./test-mongo.ts";

const folder = useTestFolder("oracle");
let mongo: TestMongo;

beforeAll(async () => {
  mongo = await startTestMongo({ folder });
});

afterAll(async () => {
  await mongo.stop();
});

test("the BSON reader agrees with the library on every type", () => {
  const document = {
    z: new Double(1.5),
    nan: Number.NaN,
    one: new Double(1),
    text: "a\u0000b€😀",
    nested: { b: [1, { c: null }], a: true },
    bytes: new Binary(Buffer.from([1, 2, 3])),
    uuid: new UUID("00112233-4455-6677-8899-aabbccddeeff"),
    id: new ObjectId("0123456789abcdef01234567"),
    no: false,
    at: new Date(1_700_000_000_123),
    before: new Date(-1),
    pattern: /a+b/i,
    code: new Code("x"),
    scoped: new Code("x", { y: 1 }),
    int: new Int32(-7),
    long: Long.fromString("9223372036854775807"),
    ts: new Timestamp({ t: 4_000_000_000, i: 2 }),
    min: new MinKey(),
    max: new MaxKey(),
  };
  const ours = relaxedJsonOf(readBson(BSON.serialize(document)));
  // The library prints integers beyond 2^53 through a double; the reader's own rule is checked by its digits.
  expect(ours).toContain(`"long":9223372036854775807,`);
  const theirs = BSON.EJSON.stringify({ ...document, long: 5 }, { relaxed: true });
  expect(ours.replace("9223372036854775807", "5")).toBe(canonicalJson(theirs));
});

test("decimals print as the library prints them", () => {
  const texts = [
    "0",
    "-0",
    "1",
    "1.10",
    "-12345.678",
    "1E+3",
    "1E-7",
    "0.000001",
    "1.2E+30",
    "NaN",
    "Infinity",
    "-Infinity",
    "9.999999999999999999999999999999999E+6144",
    "1E-6176",
    "1234567890123456789012345678901234",
  ];
  for (const text of texts) {
    const bytes = BSON.serialize({ d: Decimal128.fromString(text) });
    expect(mapCell("string", readBson(bytes).fields[0]?.[1]).cell).toBe(
      `TEXT:${Decimal128.fromString(text).toString()}`,
    );
  }
});

test("numbers that MongoDB holds equal have one key", () => {
  const keys = [
    new Int32(10),
    new Double(10),
    Long.fromNumber(10),
    Decimal128.fromString("10"),
    Decimal128.fromString("1E+1"),
    Decimal128.fromString("10.0"),
  ].map((value) => mapId("string", readBson(BSON.serialize({ value })).fields[0]?.[1]));
  expect(new Set(keys)).toEqual(new Set(["10"]));
});

test("paths find the first match in the document's own types", () => {
  const document = readBson(BSON.serialize({ a: { b: [{ c: 1 }, { c: new Double(2) }] }, n: new Int32(3) }));
  expect(compilePath("$.a.b[1].c")(document)).toEqual({ kind: "double", value: 2 });
  expect(compilePath("$.a.b[-1].c")(document)).toEqual({ kind: "double", value: 2 });
  expect(compilePath("$..c")(document)).toEqual({ kind: "int32", value: 1n });
  expect(compilePath("$.a.b[?@.c > 1].c")(document)).toEqual({ kind: "double", value: 2 });
  expect(compilePath("$.n.value")(document)).toBeUndefined();
});

test("a wrong value, type, missing row or left-over row is found and named", async () => {
  const collection = mongo.database.collection("small");
  await collection.insertMany([
    { _id: "a" as never, n: new Double(1), t: "x" },
    { _id: "b" as never, n: new Double(2), t: "y" },
  ]);
  const entity: EntityRequest = {
    name: "small",
    client: "main",
    source: "small",
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "n", type: "any", path: "$.n" },
        { name: "t", type: "string", path: "$.t" },
      ],
      indexes: [],
    },
  };
  const file = join(folder, "small.db");
  const database = new Database(file);
  database.exec(`CREATE TABLE data (id TEXT PRIMARY KEY, n, t TEXT);
    CREATE TABLE metadata (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
    INSERT INTO metadata VALUES ('max_oplog_id', 4), ('mode', 'live');
    INSERT INTO data VALUES ('a', 1.0, 'x'), ('b', 2.0, 'y');`);
  const expected = await expectedTable(collection, entity);
  const compare = (): string => compareCache(file, entity, expected).report;
  expect(compareCache(file, entity, expected)).toMatchObject({ isEqual: true, rows: 2, position: 4, mode: "live" });
  database.exec("UPDATE data SET n = 1 WHERE id = 'a'");
  expect(compare()).toContain("row a: n is INTEGER:1, should be REAL:1");
  database.exec("UPDATE data SET n = 1.0, t = 'X' WHERE id = 'a'");
  expect(compare()).toContain("row a: t is TEXT:X, should be TEXT:x");
  database.exec("DELETE FROM data WHERE id = 'a'");
  expect(compare()).toContain("row a is in MongoDB and not in the cache");
  database.exec("INSERT INTO data VALUES ('a', 1.0, 'x'), ('c', 1.0, 'x')");
  expect(compare()).toContain("row c is in the cache and not in MongoDB");
  database.close();
});
