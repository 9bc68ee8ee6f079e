import { Double, serialize } from "bson";
import { describe, expect, test } from "vitest";
import { compileRowMapper, type MappedRow } from "./row-mapper.ts";
import { int32Bytes, rawDocument, stringBytes } from "./testing/bson-bytes.ts";
import { makeEntity } from "./testing/make-entity.ts";

function dataOf(row: MappedRow): unknown {
  if (row.docId === null) throw new Error(JSON.stringify(row.rejects));
  return JSON.parse(row.data);
}

const ID = [0x10, "_id", int32Bytes(1)] as const;

describe("strings", () => {
  const mapper = compileRowMapper(
    makeEntity([
      ["string", "$.s"],
      ["any", "$.s"],
      ["jsonb", "$.s"],
    ]),
  );

  test.each([0, 1, 126, 127, 128, 129, 130, 5000])("of %s bytes, with each special character at each end", (length) => {
    for (const special of ["x", '"', "\\", "\u0000", "\n", "\u001f", "\u007f", "é", "\u2028", "😀", "\ufffd"]) {
      for (const text of ["x".repeat(length) + special, special + "x".repeat(length)]) {
        expect(dataOf(mapper.map(serialize({ _id: 1, s: text })))).toEqual([text, text, text]);
      }
    }
  });

  test("that are not UTF-8 are NULL and a reject, in each column type and inside documents", () => {
    const bad = Buffer.from([0x61, 0xff, 0x62]);
    const surrogate = Buffer.from([0xed, 0xa0, 0x80]);
    for (const text of [bad, surrogate, Buffer.concat([Buffer.alloc(200, 0x61), bad])]) {
      const row = mapper.map(rawDocument([ID, [2, "s", stringBytes(text)]]));
      expect(dataOf(row)).toEqual([null, null, null]);
      expect(row.rejects.map((reject) => reject.reason)).toEqual(Array(3).fill("text that is not valid UTF-8"));
      expect(row.rejects[0]?.sample).toMatch(/^"a*\ufffd|^"a{199}$/);
    }
    const nested = mapper.map(rawDocument([ID, [3, "s", rawDocument([[0x0a, bad, Buffer.alloc(0)]])]]));
    expect(nested.rejects).toHaveLength(3);
  });

  test("that are not UTF-8 can't be keys, for two could become one", () => {
    const key = mapper.mapKey(rawDocument([[2, "_id", stringBytes(Buffer.from([0xff]))]]));
    expect(key).toMatchObject({ docId: null, reject: { reason: "text that is not valid UTF-8", sample: '"\ufffd"' } });
  });
});

describe("field names", () => {
  test("of any spelling are found as they are", () => {
    const names = ["", "__proto__", "constructor", "a.b", "$x", "é", "日本", "2", "x".repeat(300), "\u007f"];
    const mapper = compileRowMapper(makeEntity(names.map((name) => ["string", `$[${JSON.stringify(name)}]`])));
    const bytes = rawDocument([ID, ...names.map((name) => [2, name, stringBytes(`<${name}>`)] as const)]);
    expect(dataOf(mapper.map(bytes))).toEqual(names.map((name) => `<${name}>`));
  });

  test("that are repeated: the first counts, as in MongoDB", () => {
    const mapper = compileRowMapper(
      makeEntity([
        ["integer", "$.a"],
        ["integer", "$.b"],
        ["integer", "$..a"],
        ["jsonb", "$"],
      ]),
    );
    const row = mapper.map(
      rawDocument([ID, [0x10, "a", int32Bytes(1)], [0x10, "a", int32Bytes(2)], [0x10, "b", int32Bytes(3)]]),
    );
    if (row.docId === null) throw new Error("no id");
    expect(row.data).toBe('[1,3,1,{"_id":1,"a":1,"a":2,"b":3}]');
  });
});

describe("paths", () => {
  const document = serialize({
    _id: { k: "key", n: [5, 6] },
    a: { b: [{ c: 1 }, { c: 2 }, "x"], 0: "zero" },
    items: [
      { sku: "p", at: new Date(0), n: 5 },
      { sku: "q", at: new Date(86_400_000), n: { deep: true } },
    ],
    z: 1,
    10: "ten",
    2: "two",
  });

  test.each([
    ["$.a.b[0].c", 1],
    ["$['a'][\"b\"][-2].c", 2],
    ["$.a.b[-3].c", 1],
    ["$.a.b[3]", null],
    ["$.a.b[-4]", null],
    ["$.a[0]", null],
    ["$.a['0']", "zero"],
    ["$.a.b['0']", null],
    ["$.z.y", null],
    ["$._id.k", "key"],
    ["$..c", 1],
    ["$.items[?@.sku=='q'].n", '{"deep":true}'],
    ["$.items[?@.at > '1970-01-01T12:00:00Z'].sku", "q"],
    ["$.items[?@.n == 5].sku", "p"],
    ["$.items[1:].sku", "q"],
    ["$.items[*].none", null],
    ["$['nope','z']", 1],
  ])("%s", (path, expected) => {
    const row = compileRowMapper(makeEntity([["any", path]])).map(document);
    const [value] = dataOf(row) as unknown[];
    expect(typeof value === "object" && value !== null ? JSON.stringify(value) : value).toBe(expected);
    expect(row.rejects).toEqual([]);
  });

  test("of one document share what they can and do not disturb each other", () => {
    const paths = ["$.a", "$.a.b", "$.a.b[0]", "$.a.b[-3]", "$.a.b[0].c", "$.z", "$.z", "$.a.b[2]"];
    const row = compileRowMapper(makeEntity(paths.map((path) => ["jsonb", path]))).map(document);
    const b = [{ c: 1 }, { c: 2 }, "x"];
    expect(dataOf(row)).toEqual([{ 0: "zero", b }, b, { c: 1 }, { c: 1 }, 1, 1, 1, "x"]);
  });

  test("wildcards follow the document's order, numbered names included", () => {
    const bytes = rawDocument([
      ID,
      [
        3,
        "m",
        rawDocument([
          [2, "z", stringBytes("first")],
          [2, "1", stringBytes("second")],
        ]),
      ],
    ]);
    expect(dataOf(compileRowMapper(makeEntity([["string", "$.m.*"]])).map(bytes))).toEqual(["first"]);
  });

  test("inside _id make the key", () => {
    const mapper = compileRowMapper(makeEntity([["any", "$.z"]], { path: "$._id.n[-1]", type: "number" }));
    expect(mapper.map(document)).toMatchObject({ docId: "6", idType: expect.any(Number) as number, data: "[1]" });
    expect(mapper.mapKey(serialize({ _id: { n: [] } }))).toMatchObject({
      docId: null,
      reject: { reason: "the document has nothing at $._id.n[-1]", column: null },
    });
  });
});

describe("documents that can't be read", () => {
  const mapper = compileRowMapper(
    makeEntity([
      ["jsonb", "$"],
      ["any", "$.a"],
      ["any", "$..x"],
    ]),
  );
  const whole = Buffer.from(serialize({ _id: "k", a: { b: [1, "two"] } }));

  test("are a reject, wherever they are cut", () => {
    for (let length = 0; length < whole.length; length++) {
      const row = mapper.map(whole.subarray(0, length));
      expect(row).toMatchObject({ docId: null, rejects: [{ docId: "", column: null, version: 7 }] });
      expect(row.rejects[0]?.reason).toMatch(/^malformed BSON: /);
    }
    expect(mapper.map(Buffer.concat([whole, Buffer.from([0])])).docId).toBeNull();
  });

  test("in one value only lose that value", () => {
    // An array whose element reaches over its end.
    const row = mapper.map(rawDocument([ID, [4, "a", rawDocument([[0x10, "0", int32Bytes(1)]]).fill(0x12, 4, 5)]]));
    expect(dataOf(row)).toEqual([null, null, null]);
    expect(row.rejects).toHaveLength(3);
  });

  test("nested without end do not exhaust the stack", () => {
    let nested = rawDocument([]);
    for (let depth = 0; depth < 3000; depth++) nested = rawDocument([[3, "a", nested]]);
    const row = mapper.map(rawDocument([ID, [3, "a", nested]]));
    expect(dataOf(row)).toEqual([null, null, null]);
    expect(row.rejects[0]?.reason).toBe("nested deeper than 250 levels");
    expect(row.rejects[0]?.sample).toHaveLength(200);
  });

  test("without _id are a reject", () => {
    expect(mapper.map(serialize({ a: 1 }))).toEqual({
      docId: null,
      rejects: [
        { version: 7, docId: "", column: null, reason: "the document has nothing at $._id", sample: '{"a":1}' },
      ],
    });
  });
});

test("a sample is cut between characters", () => {
  const row = compileRowMapper(makeEntity([["integer", "$.s"]])).map(serialize({ _id: 1, s: "😀".repeat(500) }));
  const sample = row.rejects[0]?.sample ?? "";
  expect(sample.isWellFormed()).toBe(true);
  expect(sample).toBe(`"${"😀".repeat(99)}`);
});

test("bytes in a larger buffer are read in place", () => {
  const bytes = serialize({ _id: 1, s: "here" });
  const larger = new Uint8Array(bytes.length + 20).fill(7);
  larger.set(bytes, 10);
  const mapper = compileRowMapper(makeEntity([["string", "$.s"]]));
  expect(dataOf(mapper.map(larger.subarray(10, 10 + bytes.length)))).toEqual(["here"]);
});

test("a key that is a part of `_id` comes with what tells whole `_id`s apart", () => {
  const mapper = compileRowMapper(makeEntity([["any", "$.z"]], { path: "$._id.a", type: "string" }));
  const typeOf = (id: Record<string, unknown>): number => {
    const bytes = serialize({ _id: id, z: 1 });
    const row = mapper.map(bytes);
    const key = mapper.mapKey(serialize({ shard: 1, _id: id }));
    if (row.docId === null || key.docId === null) throw new Error("it has a key");
    expect([key.docId, key.idType]).toEqual([row.docId, row.idType]);
    return row.idType;
  };
  const first = typeOf({ a: 1, b: 1 });
  expect(first).toBeGreaterThan(255);
  expect(first).toBeLessThan(2 ** 31);
  expect(typeOf({ a: new Double(1), b: 1 })).toBe(first);
  for (const other of [{ a: 1, b: 2 }, { a: 1 }, { b: 1, a: 1 }, { a: "1", b: 1 }])
    expect(typeOf(other)).not.toBe(first);
});
