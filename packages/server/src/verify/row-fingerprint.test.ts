import { expect, test } from "vitest";
import { rowFingerprint, storedValue } from "./row-fingerprint.ts";

test("equal for what SQLite holds equal, and for nothing else", () => {
  expect(rowFingerprint([-0, "a", null])).toBe(rowFingerprint([0, "a", null]));
  const different = [
    ["a", "b"],
    ["ab", ""],
    ["", "ab"],
    [1, 2],
    [1n, 2],
    [12, 2],
    ["1", "2"],
    [null, null],
    ["n", "n"],
  ];
  expect(new Set(different.map((row) => rowFingerprint(row))).size).toBe(different.length);
});

test("a bound value is what its column's affinity makes of it", () => {
  expect(storedValue(3, "integer")).toBe(3n);
  expect(storedValue(1n, "number")).toBe(1);
  expect(storedValue(1, "any")).toBe(1);
  expect(storedValue("1", "string")).toBe("1");
});
