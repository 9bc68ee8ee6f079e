import { expect, test } from "vitest";
import { createLogger } from "./logger.ts";
import type { Service } from "./service.ts";
import { ServiceStack } from "./service-stack.ts";

function fixture(): { stack: ServiceStack; calls: string[]; events: string[]; service: typeof service } {
  const calls: string[] = [];
  const events: string[] = [];
  const destination = { write: (line: string) => events.push((JSON.parse(line) as { event: string }).event) };
  const stack = new ServiceStack(createLogger({ level: "info", destination }));
  function service(name: string, overrides: Partial<Service> = {}): void {
    stack.add({
      name,
      start: async () => void calls.push(`start ${name}`),
      stop: async () => void calls.push(`stop ${name}`),
      ...overrides,
    });
  }
  return { stack, calls, events, service };
}

test("starts in order, stops in reverse, each once however often it is asked", async () => {
  const { stack, calls, service } = fixture();
  service("a");
  service("b");
  await Promise.all([stack.start(), stack.start()]);
  const first = stack.stop(1_000);
  expect(stack.stop(5)).toBe(first);
  await first;
  expect(calls).toEqual(["start a", "start b", "stop b", "stop a"]);
});

test("a failed start is thrown; what was begun is stopped, the rest is left alone", async () => {
  const { stack, calls, service } = fixture();
  service("a");
  service("b", { start: () => Promise.reject(new Error("b is broken")) });
  service("c");
  await expect(stack.start()).rejects.toThrow("b is broken");
  await stack.stop(1_000);
  expect(calls).toEqual(["start a", "stop b", "stop a"]);
});

test("stopping goes on past failures and logs them", async () => {
  const { stack, calls, events, service } = fixture();
  service("a");
  service("b", { stop: () => Promise.reject(new Error("b is broken")) });
  service("c");
  await stack.start();
  await stack.stop(1_000);
  expect(calls).toEqual(["start a", "start b", "start c", "stop c", "stop a"]);
  expect(events).toEqual(["service_stop_failed"]);
});

test("a stop during the start stops what was begun and starts nothing more", async () => {
  const { stack, calls, service } = fixture();
  const gate = Promise.withResolvers<void>();
  service("a", { start: () => gate.promise });
  service("b");
  const started = stack.start();
  await stack.stop(1_000);
  gate.resolve();
  await started;
  expect(calls).toEqual(["stop a"]);
});

test("after the time-out the signal is aborted, and a part that ignores it is left behind", async () => {
  const { stack, calls, events, service } = fixture();
  service("a");
  service("deaf", { stop: () => new Promise(() => {}) });
  service("obedient", {
    stop: (signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          calls.push("gave its work up");
          resolve();
        });
      }),
  });
  await stack.start();
  const startedAtMs = performance.now();
  await stack.stop(50);
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);
  expect(events).toEqual(["service_stop_gave_up"]);
  expect(calls.slice(-2)).toEqual(["gave its work up", "stop a"]);
});
