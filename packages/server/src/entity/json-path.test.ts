import { describe, expect, test } from "vitest";
import { compileJsonPath, JsonPathMistake } from "./json-path.ts";

describe("plain paths have steps", () => {
  test.each([
    ["$", []],
    ["$.a.b[0]", ["a", "b", 0]],
    ["$['a'][\"b\"]", ["a", "b"]],
    ["$['a.b']['$c']['']", ["a.b", "$c", ""]],
    ["$.__proto__[-1]", ["__proto__", -1]],
    ["$['..']", [".."]],
    ["$.é.日本", ["é", "日本"]],
    ["$ .a [0]", ["a", 0]],
    ["$['\\u00e9\\'']", ["é'"]],
  ])("%s", (path, steps) => {
    expect(compileJsonPath(path).steps).toEqual(steps);
  });
});

test.each(["$..a", "$.*", "$[0,1]", "$[1:2]", "$['a','b']", "$[?@.x]", "$.a..[0]"])("%s needs the engine", (path) => {
  expect(compileJsonPath(path).steps).toBeNull();
});

test.each([
  "",
  "a",
  " $.a",
  "$.a ",
  "$.",
  "$[",
  "$.a[",
  "$[01]",
  "$[9007199254740992]",
  "$.a]",
  "$[?@.a = 1]",
  "$['a'",
  "$\u0000",
])("%j is refused", (path) => {
  expect(() => compileJsonPath(path)).toThrow(JsonPathMistake);
});
