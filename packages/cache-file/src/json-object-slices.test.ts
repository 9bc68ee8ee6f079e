import fc from "fast-check";
import { expect, test } from "vitest";
import { jsonObjectSlices } from "./json-object-slices.ts";

test("gives each member as the text that stands there", () => {
  const text = ' { "a" : 9007199254740993 , "b\\n": {"x": [1, "}"]}, "c":"\\"," , "d": [ ] } ';
  expect([...jsonObjectSlices(text)]).toEqual([
    ["a", "9007199254740993"],
    ["b\n", '{"x": [1, "}"]}'],
    ["c", '"\\","'],
    ["d", "[ ]"],
  ]);
  expect([...jsonObjectSlices("{}")]).toEqual([]);
});

test("what JSON.stringify wrote is read as JSON.parse reads it", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const text = JSON.stringify(value);
      const read = Object.fromEntries([...jsonObjectSlices(text)].map(([key, slice]) => [key, JSON.parse(slice)]));
      expect(JSON.stringify(read)).toBe(text);
    }),
  );
});

test.each(["", "[]", '{"a"}', '{"a":1', '{"a":1,}', '{"a",1}', "{1:2}", '{"a":"x}'])("refuses %s", (text) => {
  expect(() => jsonObjectSlices(text)).toThrow(SyntaxError);
});
