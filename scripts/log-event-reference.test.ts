import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { logEventMistakes } from "./log-event-reference.ts";

test("every event of the log is described, and every described one is logged", () => {
  expect(logEventMistakes(resolve(import.meta.dirname, ".."))).toEqual([]);
});

test("an event that is not described is found, however it is written, and a line without one", () => {
  const root = mkdtempSync(join(tmpdir(), "emcache-events-"));
  try {
    const folder = join(root, "packages/server/src");
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, "part.ts"),
      `logger.warn({ event: "one_thing" }, "x"); report.line(\n "warn",\n "other_thing", {}, "y");
       const event = isNew ? "third_thing" : "fourth_thing"; logger.info("told without a name");`,
    );
    writeFileSync(join(folder, "part.test.ts"), `logger.warn({ event: "of_a_test" }, "x");`);
    const found = logEventMistakes(root).filter((mistake) => mistake.startsWith("packages/"));
    expect(found.map((mistake) => /event (\w+)|no event/.exec(mistake)?.[1] ?? "none")).toEqual([
      "none",
      "one_thing",
      "other_thing",
      "third_thing",
      "fourth_thing",
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
