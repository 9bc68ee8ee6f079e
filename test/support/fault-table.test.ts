import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { FAULTS } from "./fault-catalogue.ts";
import { documentedRows, faultRows, findFaultTests, withFaultRows } from "./fault-table.ts";

const root = resolve(import.meta.dirname, "../..");
const document = readFileSync(join(root, "docs/06-internals.md"), "utf8");

test("the table of faults in docs/06-internals.md has one row for each fault", () => {
  expect(documentedRows(document).map(({ number }) => number)).toEqual(FAULTS.map(({ number }) => number));
});

test.each(documentedRows(document))("row $number of the table of faults names existing tests", ({ number, cells }) => {
  const named = [...(cells[5] ?? "").matchAll(/(test\/faults\/\S+\.test\.ts): "(.*?)"(?=; test\/|$)/g)];
  expect(named.length).toBeGreaterThan(0);
  for (const [, file = "", name = ""] of named) {
    expect(existsSync(join(root, file)), file).toBe(true);
    expect(readFileSync(join(root, file), "utf8")).toContain(name.replaceAll("\\|", "|"));
    expect(name).toMatch(new RegExp(`^fault ${number}: `));
  }
});

test("every test of a fault belongs to a row", () => {
  const numbers = new Set(FAULTS.map(({ number }) => number));
  for (const one of findFaultTests(root)) expect(numbers).toContain(one.fault);
});

test("a run replaces the rows that it reported, says how far it went, and leaves the others", () => {
  const tests = [
    { fault: 1, file: "test/faults/a.test.ts", name: "fault 1: one" },
    { fault: 2, file: "test/faults/b.test.ts", name: "fault 2: two" },
  ];
  const text =
    "before\n<!-- faults:begin -->\n\n| 1 | old |\n| 2 | t | a (1) | 1 | 0 | old test | cmd |\n\n<!-- faults:end -->\nafter\n";
  const line = { fault: 1, title: "", lost: 0, skipped: null } as const;
  const lines = [
    { ...line, source: "SecantusDB", injected: 3 },
    { ...line, source: "dev-mongo", injected: 4 },
  ] as const;
  const written = withFaultRows(text, faultRows(lines, tests), tests);
  expect(written).toMatch(/^before\n<!-- faults:begin -->/);
  expect(written).toMatch(/<!-- faults:end -->\nafter\n$/);
  expect(written).toContain(
    '| SecantusDB (3), dev-mongo (4) | 7 kills, not yet the full 50 | 0 | test/faults/a.test.ts: "fault 1: one" | `npm run faults -- 1` |',
  );
  expect(written).toContain('| 2 | t | a (1) | 1 | 0 | test/faults/b.test.ts: "fault 2: two" | cmd |');
  expect(written).toMatch(/\| 3 \|.*\| not run yet \|/);
  expect(withFaultRows(written, new Map(), tests)).toBe(written);
});
