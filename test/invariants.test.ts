import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The invariants of the architecture by their number there. */
const INVARIANTS: Readonly<Record<number, string>> = {
  1: "log before checkpoint",
  2: "commit-order positions",
  3: "one writer",
  4: "linear history per document",
  5: "position inside the cache",
  6: "old data until new data is whole, and fresh meanwhile",
  7: "no orphans",
  8: "nothing dropped in silence",
  9: "a snapshot that is listed is restorable",
  10: "memory is bounded",
  11: "one history",
};

const tests = globSync(["test/**/*.test.ts", "packages/*/src/**/*.test.ts"], { cwd: root })
  .filter((file) => !file.endsWith("invariants.test.ts"))
  .map((file) => readFileSync(`${root}/${file}`, "utf8"))
  .join("\n");

test.each(Object.entries(INVARIANTS))(
  "invariant %s has an end-to-end or unit test named after it: %s",
  (number, title) => {
    expect(tests).toMatch(
      new RegExp(`(?:test|it)[^\\n]*\\(\\s*[\`"'](?:fault \\d+: )?invariant ${number}: ${title}`, "i"),
    );
  },
);
