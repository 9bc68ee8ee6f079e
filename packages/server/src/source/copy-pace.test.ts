import { expect, test } from "vitest";
import { CopyPace } from "./copy-pace.ts";

/** A clock that stands still, and says how long one wanted to sleep. */
function stoppedClock() {
  const slept: number[] = [];
  const sleep = async (ms: number): Promise<void> => void slept.push(Math.round(ms));
  return { slept, nowMs: () => 0, monotonicMs: () => 0, sleep };
}

test("copies of one source share its documents a second", async () => {
  const clock = stoppedClock();
  const pace = new CopyPace({ rowsPerSMax: 200 }, clock);
  const { signal } = new AbortController();
  await Promise.all([pace.spend(100, signal), pace.spend(200, signal), pace.spend(0, signal)]);
  expect(clock.slept).toEqual([500, 1500]);
});

test("without a limit nothing waits", async () => {
  const clock = stoppedClock();
  await new CopyPace({ rowsPerSMax: 0 }, clock).spend(1_000_000, new AbortController().signal);
  expect(clock.slept).toEqual([]);
});
