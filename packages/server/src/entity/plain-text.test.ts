import fc from "fast-check";
import { expect, test } from "vitest";
import { isoText } from "./plain-text.ts";

test("isoText is toISOString over the whole range of dates", () => {
  const agrees = (ms: number): void => {
    expect(isoText(ms)).toBe(new Date(ms).toISOString());
  };
  fc.assert(fc.property(fc.integer({ min: -8.64e15, max: 8.64e15 }), agrees), { numRuns: 2000 });
  fc.assert(fc.property(fc.integer({ min: -6.3e13, max: 2.6e14 }), agrees), { numRuns: 5000 });
  for (let year = 0; year < 10_000; year++) {
    for (const [month, day] of [
      [0, 1],
      [1, 28],
      [1, 29],
      [2, 1],
      [11, 31],
    ] as const) {
      agrees(new Date(0).setUTCFullYear(year, month, day));
      agrees(new Date(0).setUTCFullYear(year, month, day) - 1);
    }
  }
});
