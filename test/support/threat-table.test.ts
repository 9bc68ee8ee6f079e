import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

/** The lines of the table "Threats" in docs/05-operations.md, each with its tests as `file: "name"`. */
function threats(): { readonly threat: string; readonly tests: readonly (readonly [file: string, name: string])[] }[] {
  const text = readFileSync(join(root, "docs/05-operations.md"), "utf8");
  const table = /<!-- threats:begin -->(.*?)<!-- threats:end -->/s.exec(text)?.[1] ?? "";
  const lines = table.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    const tests = [...(cells[3] ?? "").matchAll(/([\w./-]+\.test\.ts): "([^"]+)"/g)];
    return { threat: cells[1] ?? "", tests: tests.map((match) => [match[1] ?? "", match[2] ?? ""] as const) };
  });
}

test("every threat of docs/05-operations.md names a test, and each named test exists", () => {
  const found = threats();
  expect(found.length).toBeGreaterThan(20);
  for (const { threat, tests } of found) {
    expect(tests.length, threat).toBeGreaterThan(0);
    for (const [file, name] of tests) {
      const text = readFileSync(join(root, file), "utf8");
      expect(text.includes(`test("${name}"`) || text.includes(`])("${name}"`), `${threat}: ${file}: ${name}`).toBe(
        true,
      );
    }
  }
});
