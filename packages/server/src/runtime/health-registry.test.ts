import { EmcacheError } from "@emcache/protocol";
import { expect, test } from "vitest";
import type { Clock } from "./clock.ts";
import { HealthRegistry } from "./health-registry.ts";

function manualClock(): Clock & { wallMs: number } {
  return {
    wallMs: 0,
    nowMs() {
      return this.wallMs;
    },
    monotonicMs: () => 0,
    sleep: () => Promise.resolve(),
  };
}

test("a part that has not said anything yet is not healthy", () => {
  const health = new HealthRegistry();
  health.component("postgres");
  expect(health.states()).toMatchObject({ postgres: { status: "degraded", reason: "starting" } });
});

test("shows status, reason, code and hint, and since when", () => {
  const clock = manualClock();
  const health = new HealthRegistry(clock);
  const postgres = health.component("postgres");
  clock.wallMs = 1_000;
  postgres.healthy();
  clock.wallMs = 2_000;
  postgres.degraded(new EmcacheError("postgres_unavailable", "postgres://u:secret@h refused"));
  clock.wallMs = 3_000;
  postgres.degraded(new Error("still away"));
  expect(health.states()).toEqual({
    postgres: {
      status: "degraded",
      since: "1970-01-01T00:00:02.000Z",
      reason: "still away",
      code: null,
      hint: null,
    },
  });
  postgres.degraded(new EmcacheError("postgres_unavailable", "postgres://u:secret@h refused", { hint: "wait" }));
  expect(postgres.state()).toMatchObject({
    reason: "postgres://u:***@h refused",
    code: "postgres_unavailable",
    hint: "wait",
  });
  postgres.healthy();
  expect(postgres.state()).toEqual({
    status: "healthy",
    since: "1970-01-01T00:00:03.000Z",
    reason: null,
    code: null,
    hint: null,
  });
});

test("a part that waits to try again says how often it failed and when it tries next", () => {
  const clock = manualClock();
  const part = new HealthRegistry(clock).component("source.main");
  clock.wallMs = 1_000;
  part.degraded(new Error("away"), { attempt: 3, delayMs: 500 });
  expect(part.state().retry).toEqual({ attempt: 3, next_try_at: "1970-01-01T00:00:01.500Z" });
  part.healthy();
  expect(part.state().retry).toBeUndefined();
});

test("one name is one part; a removed one is gone", () => {
  const health = new HealthRegistry();
  expect(health.component("a")).toBe(health.component("a"));
  health.component("b").stopped();
  health.remove("a");
  expect(Object.keys(health.states())).toEqual(["b"]);
});
