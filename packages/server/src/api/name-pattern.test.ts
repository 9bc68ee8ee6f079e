import { expect, test } from "vitest";
import { namePattern } from "./name-pattern.ts";

test.each([
  ["users", "users", true],
  ["users", "users2", false],
  ["users", "ausers", false],
  ["orders_*", "orders_", true],
  ["orders_*", "orders_2024", true],
  ["orders_*", "order", false],
  ["*", "", true],
  ["*_eu", "a_eu", true],
  ["user?", "users", true],
  ["user?", "user", false],
  ["a.c", "abc", false],
  ["users", "USERS", false],
  ["users", "users\n", false],
])("%s for %s: %s", (pattern, name, isMatch) => {
  expect(namePattern(pattern).test(name)).toBe(isMatch);
});

test("many stars are one, so none is tried by itself", () => {
  expect(namePattern(`${"*".repeat(120)}x`)).toEqual(namePattern("*x"));
});
