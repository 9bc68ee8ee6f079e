import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { isAbort } from "./error-message.ts";
import { sleep } from "./sleep.ts";

test("waits at least the time asked for and leaves no listener behind", async () => {
  const controller = new AbortController();
  const startedAtMs = performance.now();
  await sleep(20, controller.signal);
  expect(performance.now() - startedAtMs).toBeGreaterThan(15);
  expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
});

test("ends at once when the signal aborts, with the signal's reason", async () => {
  const controller = new AbortController();
  const startedAtMs = performance.now();
  const slept = sleep(60_000, controller.signal);
  controller.abort();
  const error: unknown = await slept.catch((reason: unknown) => reason);
  expect(isAbort(error)).toBe(true);
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);
});

test("does not begin to wait on an aborted signal", async () => {
  await expect(sleep(60_000, AbortSignal.abort(new Error("stopped")))).rejects.toThrow("stopped");
});
