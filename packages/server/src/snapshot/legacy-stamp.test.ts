import fc from "fast-check";
import { expect, test } from "vitest";
import { legacyStamps, type StampedFile } from "./legacy-stamp.ts";

const NOW_MS = 1_000_000_000;
const OLD = NOW_MS - 11 * 60 * 1000;
const FRESH = NOW_MS - 60 * 1000;

function file(
  version: number,
  position: number,
  syncStart: number,
  syncEnd: number,
  switchedAtMs: number,
  isWhole = true,
): StampedFile {
  return { version, position, isWhole, bracket: { syncStart, switchedStart: syncStart, syncEnd, switchedAtMs } };
}

test("a switch older than 10 minutes leaves the position, a younger one goes before its sync_start", () => {
  const stamps = legacyStamps([file(1, 100, 10, 20, OLD), file(2, 100, 50, 90, FRESH)], 1, NOW_MS);
  expect(Object.fromEntries(stamps)).toEqual({ 1: 100, 2: 49 });
});

test("a stamp inside another file's older bracket takes that file before its own sync_start too", () => {
  // A long copy (30…900) just ended; a short one (20…60) ended an hour ago: reading on from 29 would cut into it.
  const stamps = legacyStamps([file(1, 1000, 30, 900, FRESH), file(2, 1000, 20, 60, OLD)], 1, NOW_MS);
  expect(Object.fromEntries(stamps)).toEqual({ 1: 29, 2: 19 });
});

test("a sync_start that the log no longer holds can't be read on from", () => {
  expect(legacyStamps([file(1, 100, 10, 90, FRESH)], 11, NOW_MS).get(1)).toBe(100);
  expect(legacyStamps([file(1, 100, 10, 90, FRESH)], 10, NOW_MS).get(1)).toBe(9);
});

test("no live file's bracket holds any file's stamp, unless the floor forbids it", () => {
  const files = fc.array(
    fc.record({
      start: fc.integer({ min: 1, max: 400 }),
      length: fc.integer({ min: 1, max: 400 }),
      lag: fc.integer({ min: 0, max: 50 }),
      isFresh: fc.boolean(),
      isWhole: fc.boolean(),
    }),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(files, (specs) => {
      const made = specs.map(({ start, length, lag, isFresh, isWhole }, index) =>
        file(index, Math.max(start + length, 1000 - lag), start, start + length, isFresh ? FRESH : OLD, isWhole),
      );
      const stamps = legacyStamps(made, 1, NOW_MS);
      for (const { version, isWhole, bracket } of made) {
        const isPlacedBefore = (stamps.get(version) ?? 0) < bracket.switchedStart;
        if (!isWhole || isPlacedBefore) continue;
        for (const stamp of stamps.values())
          expect(stamp >= bracket.switchedStart && stamp < bracket.syncEnd).toBe(false);
      }
    }),
  );
});
