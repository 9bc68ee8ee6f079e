import { EmcacheError } from "@emcache/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { validateEntity } from "./validate-entity.ts";

/** The brief's own example, key for key. */
const USERS = {
  name: "users",
  client: "main",
  source: "users",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "email", type: "string", path: "$.email" },
      { name: "name", type: "string", path: "$.name" },
      { name: "age", type: "integer", path: "$.age" },
    ],
    indexes: [{ name: "email_idx", columns: ["email"] }],
  },
};

const sourceNames = ["main", "archive"];

function mistakesOf(body: unknown): readonly string[] {
  try {
    validateEntity(body, { sourceNames });
    return [];
  } catch (error) {
    if (!(error instanceof EmcacheError)) throw error;
    expect(error.code).toBe("entity_invalid");
    return error.errors;
  }
}

/** The example with one field replaced: `with("shape.columns", [])`. */
function usersWith(place: string, value: unknown): unknown {
  const body = structuredClone(USERS) as unknown;
  const steps = place.split(".");
  let parent = body as Record<string, unknown>;
  for (const step of steps.slice(0, -1)) parent = parent[step] as Record<string, unknown>;
  parent[steps.at(-1)!] = value;
  return body;
}

test("the brief's example is taken as it is", () => {
  expect(validateEntity(USERS, { sourceNames })).toEqual(USERS);
});

test("unknown fields are dropped, indexes may be null or absent", () => {
  const expected = { ...USERS, shape: { ...USERS.shape, indexes: [] } };
  const { indexes: _, ...shape } = USERS.shape;
  expect(validateEntity({ ...USERS, shape, id: 5, extra: {} }, { sourceNames })).toEqual(expected);
  expect(validateEntity(usersWith("shape.indexes", null), { sourceNames })).toEqual(expected);
  const hostile: unknown = JSON.parse(JSON.stringify(USERS).replace("{", '{"__proto__":{"name":"x"},'));
  expect(validateEntity(hostile, { sourceNames })).toEqual(USERS);
});

test("every mistake is reported at once, each with its place", () => {
  const body = {
    name: "my users",
    client: "mian",
    source: "",
    shape: {
      id_column: { path: "$.email", type: "text" },
      columns: [
        { name: "ID", type: "string", path: "$.id" },
        { name: "email", type: "strng", path: "email" },
        { name: "Email", type: "string", path: "$.a[" },
        7,
      ],
      indexes: [
        { name: "data", columns: ["emial", "email", "email"] },
        { name: "i", columns: [] },
        { name: "I", columns: [null] },
      ],
    },
  };
  expect(mistakesOf(body)).toEqual([
    'name: "my users" is not a name; a name is made of ASCII letters, digits and _',
    'client: "mian" is not a configured source; did you mean "main"?',
    'source: "" is empty; it must be the name of a collection',
    'shape.id_column.path: "$.email" must be $._id or inside it, of names and indexes only, for a delete event carries nothing else',
    'shape.id_column.type: "text" is not a type of an id column; it must be one of string, number (did you mean string?)',
    'shape.columns[0].name: "ID" is the primary key\'s name, filled by id_column; choose another name',
    'shape.columns[1].type: "strng" is not a column type; it must be one of string, integer, number, bool, jsonb, any (did you mean string?)',
    'shape.columns[1].path: "email" is not a JSONPath, which begins with $; for example $.email',
    'shape.columns[2].name: "Email" is the name of shape.columns[1] too; each column needs a name of its own in any case of letters',
    'shape.columns[2].path: "$.a[" is not an RFC 9535 JSONPath: unclosed bracketed selection at its end',
    "shape.columns[3]: is the number 7; it must be an object",
    'shape.indexes[0].name: "data" is a table or view of the cache file; choose another name',
    'shape.indexes[0].columns[0]: "emial" is not a column of this entity; name one of shape.columns',
    'shape.indexes[0].columns[2]: "email" is in this index already; name each column once',
    "shape.indexes[1].columns: is empty; an index has at least one column",
    'shape.indexes[2].name: "I" is the name of shape.indexes[1] too; each index needs a name of its own in any case of letters',
    "shape.indexes[2].columns[0]: is null; it must be a string",
  ]);
});

describe("one mistake", () => {
  test.each([
    ["name", "data", /^name: "data" is reserved/],
    ["name", "Sqlite_x", /^name: .* is reserved/],
    ["name", "status", /^name: .* is reserved/],
    ["name", "a".repeat(64), /^name: .* has 64 characters; at most 63/],
    ["name", "é", /^name: "é" is not a name/],
    ["name", "users\n", /^name: "users\\n" is not a name/],
    ["name", "../x", /^name: /],
    ["client", "", /^client: "" is not a configured source; the sources are main, archive$/],
    ["source", "system.users", /^source: .* MongoDB's own/],
    ["source", "a\0b", /^source: /],
    ["source", "a$b", /^source: .* holds a \$/],
    ["source", "x".repeat(255), /^source: .* is longer/],
    ["shape", null, /^shape: is null; it must be an object$/],
    ["shape", [], /^shape: is an array; it must be an object$/],
    ["shape.columns", [], /^shape.columns: is empty/],
    ["shape.id_column.path", "$._id[?@.a]", /names and indexes only/],
    ["shape.id_column.path", "$['x']._id", /must be \$\._id or inside it/],
    ["shape.id_column.path", "$", /must be \$\._id or inside it/],
    ["shape.id_column.path", "$..x", /must be \$\._id or inside it/],
    ["shape.id_column.type", undefined, /^shape.id_column.type: is missing; it must be a string$/],
    ["shape.indexes", {}, /^shape.indexes: is an object; it must be an array$/],
    ["shape.indexes.0.name", "USERS", /is a table or view/],
    ["shape.indexes.0.columns.0", "emial", /did you mean "email"\?/],
    ["shape.columns.0.path", "$.a[01]", /leading zero in index selector at character 5$/],
    ["shape.columns.0.path", "$.", /a name or selector is missing at its end$/],
    ["shape.columns.0.path", "$.a ", /unexpected character at its end$|at character/],
    ["shape.columns.0.path", "$[?nope(@)]", /no such function 'nope' at character 4$/],
    ["shape.columns.0.path", `$${".a".repeat(600)}`, /is longer than 1000 characters$/],
    ["shape.columns.0.path", `$[?${"(".repeat(990)}`, /RFC 9535|nested/],
    ["shape.columns.0.path", "$['\ud800']", /half of a surrogate pair/],
  ])("%s %j", (place, value, expected) => {
    const mistakes = mistakesOf(usersWith(place, value));
    expect(mistakes).toHaveLength(1);
    expect(mistakes[0]).toMatch(expected);
  });
});

test.each(["$._id", "$._id.a", "$['_id']['b'][0]", "$._id[-1]"])("id path %s is taken", (path) => {
  expect(mistakesOf(usersWith("shape.id_column.path", path))).toEqual([]);
});

test("a body that is no object says so", () => {
  for (const body of [undefined, null, 1, "users", [], true]) {
    expect(mistakesOf(body)).toEqual([expect.stringMatching(/^the request: is .*; it must be an object$/)]);
  }
});

describe("hostile bodies", () => {
  test("of any JSON are answered with mistakes", () => {
    fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), (body) => mistakesOf(body).length > 0));
    fc.assert(
      fc.property(
        fc.constantFrom("name", "client", "source", "shape", "shape.columns", "shape.indexes", "shape.id_column"),
        fc.jsonValue(),
        (place, value) => {
          for (const mistake of mistakesOf(usersWith(place, value))) expect(mistake.length).toBeLessThan(500);
        },
      ),
    );
  });

  test("that are huge or deep are answered soon and briefly", () => {
    const column = { name: "x".repeat(63), type: "y".repeat(63), path: "$.".repeat(500) };
    const names = Array.from({ length: 900 }, (_, index) => `${"c".repeat(59)}${index}`);
    const index = { name: "z".repeat(63), columns: names.map((name) => `${name}y`) };
    const many = {
      ...USERS,
      shape: {
        ...USERS.shape,
        columns: [
          ...names.map((name) => ({ name, type: "any", path: "$.a" })),
          ...Array.from({ length: 5000 }, () => column),
        ],
        indexes: Array.from({ length: 5000 }, () => index),
      },
    };
    const startedAt = performance.now();
    const mistakes = mistakesOf(many);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(mistakes).toHaveLength(101);
    expect(mistakes.at(-1)).toMatch(/^… and \d+ more$/);
    let deep: unknown = {};
    for (let depth = 0; depth < 100_000; depth++) deep = { shape: deep, columns: [deep] };
    expect(mistakesOf(usersWith("shape.columns.0", deep)).length).toBeGreaterThan(0);
    expect(mistakesOf(deep).length).toBeGreaterThan(0);
  });
});

describe("what an entity may do without", () => {
  const context = { sourceNames: ["main"] };
  const base = {
    name: "users",
    client: "main",
    source: "users",
    shape: { id_column: { path: "$._id", type: "string" }, columns: [{ name: "a", type: "any", path: "$.a" }] },
  };

  test("is kept as it was written, and nothing is made up", () => {
    const policies = { filter: { a: { $gt: 1 } }, on_reject: "stop", on_drop: "keep" };
    expect(validateEntity({ ...base, ...policies }, context)).toMatchObject(policies);
    expect(Object.keys(validateEntity(base, context))).toEqual(["name", "client", "source", "shape"]);
    expect(Object.keys(validateEntity({ ...base, filter: null, on_reject: null, on_drop: null }, context))).toEqual([
      "name",
      "client",
      "source",
      "shape",
    ]);
  });

  test.each([
    [{ on_reject: "skip" }, 'on_reject: "skip" is not a way to reject; it must be one of null, skip_document, stop'],
    [{ on_drop: 1 }, "on_drop: is the number 1; it must be a string"],
    [{ filter: [] }, "filter: is an array; it must be an object"],
    [{ filter: { a: { $regex: "x" } } }, 'filter: has a regular expression at "a", which is not simple'],
  ])("is refused with its place and what would be right: %j", (fields, message) => {
    expect(mistakesOf({ ...base, ...fields })).toEqual([expect.stringContaining(message)]);
  });
});
