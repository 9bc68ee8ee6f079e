import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MONGO_ERROR_RULES } from "./mongo-error-table.ts";
import { makeSourceEntity, TestCapture, TestSource } from "./testing/test-capture.ts";

interface Item {
  _id: string;
  seq: number;
}

let source: TestSource;
let capture: TestCapture;

beforeEach(async () => {
  source = await TestSource.start();
  await items().insertOne({ _id: "a", seq: 1 });
  capture = new TestCapture(source, [makeSourceEntity(1, "items"), makeSourceEntity(2, "items")]);
  await capture.start();
  await capture.untilState(1, "done");
  await capture.untilState(2, "done");
});

afterEach(async () => {
  source.server.faults.reset();
  await capture.stop();
  await source.stop();
});

function items() {
  return source.db.collection<Item>("items");
}

function copyCount(version: number): number {
  return capture.log.rows.filter((row) => row.version === version && row.operation === "sync_start").length;
}

async function arrives(id: string): Promise<void> {
  const isThere = (version: number): boolean => capture.log.table(version).has(id);
  await capture.until(`${id} arrives`, () => isThere(1) && isThere(2));
}

const codesOf = (meaning: string): [number, string][] =>
  MONGO_ERROR_RULES.filter((rule) => rule.meaning === meaning).map(({ code, name }) => [code, name]);

describe("goes on from the last token, without a new copy", () => {
  test.each(codesOf("retry"))("after %i %s", async (code) => {
    source.server.faults.failCommands({ commands: ["getMore"], code, times: 3 });
    await capture.until("it is interrupted", () =>
      capture.logLines.some(({ event }) => event === "stream_interrupted"),
    );
    await items().insertOne({ _id: "b", seq: 1 });
    await arrives("b");
    expect([copyCount(1), copyCount(2)]).toEqual([1, 1]);
    await capture.until("it is healthy", () => capture.health.state().status === "healthy");
  });

  test.each([
    ["a step-down", () => source.server.faults.stepDown(300)],
    ["closed connections", () => source.server.faults.closeConnections()],
    ["an answer that never comes", () => closedAnswers()],
    [
      "a server that freezes and thaws",
      () => {
        source.server.faults.freeze();
        setTimeout(() => source.server.faults.thaw(), 500);
      },
    ],
  ] as const)("after %s", async (_name, inject) => {
    inject();
    await items().insertOne({ _id: "b", seq: 1 });
    await arrives("b");
    expect([copyCount(1), copyCount(2)]).toEqual([1, 1]);
  });

  function closedAnswers(): void {
    source.server.faults.failCommands({ commands: ["getMore"], closesConnection: true, isExecuted: true, times: 2 });
  }
});

describe("copies all of the source anew, while the old data is served", () => {
  const labelled = { labels: ["NonResumableChangeStreamError"] };
  test.each([
    ...codesOf("history_lost").map(([code, name]) => [`${code} ${name}`, "getMore", { code }] as const),
    ["an unknown code that is labelled", "getMore", { code: 99_999, ...labelled }] as const,
    ["a known code that is labelled", "getMore", { code: 43, ...labelled }] as const,
  ])("after %s", async (_name, command, fault) => {
    const before = capture.ids(1);
    source.server.faults.failCommands({ commands: [command], times: 1, ...fault });
    await capture.until("it is copied anew", () => copyCount(1) === 2 && copyCount(2) === 2);
    expect(capture.ids(1)).toEqual(before);
    expect(capture.logLines.filter(({ event }) => event === "history_lost")).toHaveLength(1);
    await items().insertOne({ _id: "b", seq: 1 });
    await arrives("b");
  });

  test.each(codesOf("token_refused"))("where an opening at a token is refused with %i (%s)", async (code) => {
    source.server.faults.failCommands({ commands: ["aggregate"], code, times: 1 });
    source.server.faults.failCommands({ commands: ["getMore"], code: 43, times: 1 });
    await capture.until("it is copied anew", () => copyCount(1) === 2 && copyCount(2) === 2);
    await items().insertOne({ _id: "b", seq: 1 });
    await arrives("b");
  });
});

describe("is told while it lasts, with the attempt and the next try", () => {
  test.each([
    ...codesOf("unauthorized").map(([code, name]) => [code, name, "source_unauthorized"] as const),
    ...codesOf("unsuitable").map(([code, name]) => [code, name, "source_unsuitable"] as const),
    [6, "HostUnreachable", "source_unavailable"] as const,
  ])("%i %s", async (code, _name, expected) => {
    source.server.faults.failCommands({ commands: ["getMore", "aggregate"], code, times: Infinity });
    await capture.until("it has tried twice", () => (capture.health.state().retry?.attempt ?? 0) >= 2);
    const { status, code: shown, retry } = capture.health.state();
    expect({ status, shown }).toEqual({ status: "degraded", shown: expected });
    expect(retry?.next_try_at).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    source.server.faults.reset();
    await items().insertOne({ _id: "b", seq: 1 });
    await arrives("b");
    await capture.until("it is healthy", () => capture.health.state().status === "healthy");
    expect(capture.health.state().retry).toBeUndefined();
    expect(copyCount(1)).toBe(1);
  });
});

test("the codes after which nothing can be gone on from are these", () => {
  // MongoDB's error_codes.yml: InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost.
  expect(
    codesOf("history_lost")
      .map(([code]) => code)
      .sort((a, b) => a - b),
  ).toEqual([260, 280, 286]);
  expect(codesOf("event_too_large").map(([code]) => code)).toEqual([10334]);
});
