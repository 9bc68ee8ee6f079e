import { expect, test } from "vitest";
import type { Clock } from "./clock.ts";
import { type RetryOptions, retryForever } from "./retry.ts";

/** A clock that waits for nothing and adds up what it was asked to wait. */
function instantClock(): Clock & { elapsedMs: number } {
  return {
    elapsedMs: 0,
    nowMs: () => 0,
    monotonicMs() {
      return this.elapsedMs;
    },
    sleep(ms, signal) {
      this.elapsedMs += ms;
      return signal.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve();
    },
  };
}

function optionsWith(overrides: Partial<RetryOptions> & { delays: number[] }): RetryOptions {
  return {
    signal: new AbortController().signal,
    onError: (_error, _attempt, delayMs) => overrides.delays.push(delayMs),
    delayMsMin: 100,
    delayMsMax: 1_000,
    random: () => 0.999_999,
    clock: instantClock(),
    ...overrides,
  };
}

test("doubles the wait up to its limit, then returns the first success", async () => {
  const delays: number[] = [];
  let calls = 0;
  const result = await retryForever(async () => {
    if (++calls <= 6) throw new Error("away");
    return calls;
  }, optionsWith({ delays }));
  expect(result).toBe(7);
  expect(delays).toEqual([100, 200, 400, 800, 1_000, 1_000]);
});

test("spreads the waits over the upper half of the step", async () => {
  const delays: number[] = [];
  const randoms = [0, 0.5];
  let calls = 0;
  await retryForever(
    async () => {
      if (++calls <= 2) throw new Error("away");
    },
    optionsWith({ delays, random: () => randoms.shift() ?? 0 }),
  );
  expect(delays).toEqual([50, 150]);
});

test("starts the backoff anew after an attempt that ran for long", async () => {
  const delays: number[] = [];
  const clock = instantClock();
  let calls = 0;
  await retryForever(async () => {
    calls++;
    if (calls === 4) clock.elapsedMs += 1_001;
    if (calls <= 5) throw new Error("away");
  }, optionsWith({ delays, clock }));
  expect(delays).toEqual([100, 200, 400, 100, 200]);
});

test("throws what is not retryable", async () => {
  const delays: number[] = [];
  const fatal = new Error("fatal");
  const options = optionsWith({ delays, isRetryable: (error) => error !== fatal });
  await expect(retryForever(() => Promise.reject(fatal), options)).rejects.toBe(fatal);
  expect(delays).toEqual([]);
});

test("an abort ends the wait at once, and hides what the action threw for it", async () => {
  const controller = new AbortController();
  const startedAtMs = performance.now();
  const retried = retryForever(() => Promise.reject(new Error("away")), {
    signal: controller.signal,
    onError: () => controller.abort(new Error("stopping")),
    delayMsMin: 60_000,
    delayMsMax: 60_000,
  });
  await expect(retried).rejects.toThrow("stopping");
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);

  const inAction = new AbortController();
  const delays: number[] = [];
  const action = (): Promise<never> => {
    inAction.abort(new Error("stopping"));
    return Promise.reject(new Error("socket closed"));
  };
  await expect(retryForever(action, optionsWith({ delays, signal: inAction.signal }))).rejects.toThrow("stopping");
  expect(delays).toEqual([]);
});
