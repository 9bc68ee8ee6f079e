import { expect, test } from "vitest";
import { isAbort, messageOf } from "./error-message.ts";

test("shows the message, without passwords", () => {
  expect(messageOf(new Error("no route to mongodb://u:secret@h/db"))).toBe("no route to mongodb://u:***@h/db");
  expect(messageOf("text")).toBe("text");
  expect(messageOf(undefined)).toBe("thrown: undefined");
});

test("is never empty: bundled errors, cause, code, name", () => {
  const bundled = [new Error("connect ECONNREFUSED ::1:1"), new Error("connect ECONNREFUSED 127.0.0.1:1")];
  expect(messageOf(new AggregateError(bundled))).toBe("connect ECONNREFUSED ::1:1; connect ECONNREFUSED 127.0.0.1:1");
  expect(messageOf(new Error("", { cause: new Error("inner") }))).toBe("inner");
  expect(messageOf(Object.assign(new Error(""), { code: "ECONNRESET" }))).toBe("ECONNRESET");
  expect(messageOf(new TypeError(""))).toBe("TypeError");
});

test("tells an abort from a failure and from a time-out", () => {
  expect(isAbort(AbortSignal.abort().reason)).toBe(true);
  expect(isAbort(new Error("aborted"))).toBe(false);
  expect(isAbort(new DOMException("late", "TimeoutError"))).toBe(false);
});
