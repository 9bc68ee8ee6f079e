import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FAULTS, type Fault } from "./fault-catalogue.ts";
import type { FaultLine } from "./fault-report.ts";

const BEGIN = "<!-- faults:begin -->";
const END = "<!-- faults:end -->";

const HEADER = [
  "| # | Fault | Source | Injected | Lost | Test | Repeat |",
  "| ---: | --- | --- | ---: | ---: | --- | --- |",
];

/** Where a row names its tests. */
const TEST_CELL = 5;
const NOT_RUN = "not run yet";

/** A test that injects a fault. */
export interface FaultTest {
  readonly fault: number;
  /** Path from the repository's root. */
  readonly file: string;
  /** As it stands in the code. */
  readonly name: string;
}

/** Every test of a fault in test/faults, by what stands in the files. */
export function findFaultTests(root: string): FaultTest[] {
  return globSync("test/faults/*.test.ts", { cwd: root })
    .toSorted()
    .flatMap((file) => {
      const names = /\btest(?:\.\w+(?:\([^()]*\))?)*\(\s*(["'`])(fault (\d+): .*?)\1/g;
      return [...readFileSync(join(root, file), "utf8").matchAll(names)].map((match) => ({
        fault: Number(match[3]),
        file,
        name: match[2] ?? "",
      }));
    });
}

/** What a run reported, a line each; a test process that was killed may leave half of one. */
export function readFaultReport(file: string): FaultLine[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .map((line) => JSON.parse(line) as FaultLine);
}

/** One line of the table for each fault that was reported, by its number. */
export function faultRows(lines: readonly FaultLine[], tests: readonly FaultTest[]): Map<number, string> {
  const rows = new Map<number, string>();
  for (const one of FAULTS) {
    const reported = lines.filter(({ fault }) => fault === one.number);
    if (reported.length > 0) rows.set(one.number, rowOf(one, reported, tests));
  }
  return rows;
}

/** The document with these rows in place of its own; rows of faults that were not run now stay as they are. */
export function withFaultRows(
  document: string,
  rows: ReadonlyMap<number, string>,
  tests: readonly FaultTest[],
): string {
  const [before, inside, after] = partsOf(document);
  const old = new Map(rowsIn(inside).map((row) => [numberOf(row), row]));
  const table = FAULTS.map(
    (one) => rows.get(one.number) ?? keptRow(old.get(one.number), one.number, tests) ?? rowOf(one, [], tests),
  );
  return `${before}${BEGIN}\n\n${[...HEADER, ...table].join("\n")}\n\n${END}${after}`;
}

/** The rows of the document's table, as they stand there. */
export function documentedRows(document: string): { readonly number: number; readonly cells: readonly string[] }[] {
  return rowsIn(partsOf(document)[1]).map((row) => ({ number: numberOf(row), cells: cellsOf(row) }));
}

function rowOf(
  { number, title, fullCount, unit }: Fault,
  lines: readonly FaultLine[],
  tests: readonly FaultTest[],
): string {
  const run = lines.filter(({ skipped }) => skipped === null);
  const injected = sum(run.map((line) => line.injected));
  const bySource = Map.groupBy(run, ({ source }) => source);
  const sources = [...bySource].map(([source, of]) => `${source} (${count(sum(of.map((line) => line.injected)))})`);
  const skipped = [...new Set(lines.flatMap((line) => (line.skipped === null ? [] : [`skipped: ${line.skipped}`])))];
  const isFull = injected >= fullCount;
  const cells = [
    String(number),
    title,
    [...sources, ...skipped].join(", ") || NOT_RUN,
    run.length === 0 ? "0" : `${count(injected)} ${unit}${isFull ? "" : `, not yet the full ${count(fullCount)}`}`,
    run.length === 0 ? "" : count(sum(run.map((line) => line.lost))),
    testsCell(number, tests),
    `\`npm run faults -- ${number}\``,
  ];
  return `| ${cells.join(" | ")} |`;
}

/** A row of before, naming the tests of now; null for one whose fault was never injected. */
function keptRow(row: string | undefined, number: number, tests: readonly FaultTest[]): string | null {
  if (row === undefined) return null;
  const cells = cellsOf(row);
  return cells[2] === NOT_RUN ? null : `| ${cells.with(TEST_CELL, testsCell(number, tests)).join(" | ")} |`;
}

function testsCell(number: number, tests: readonly FaultTest[]): string {
  return tests
    .filter(({ fault }) => fault === number)
    .map(({ file, name }) => `${file}: "${name.replaceAll("|", "\\|")}"`)
    .join("; ");
}

function partsOf(document: string): [string, string, string] {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`the document has no ${BEGIN} … ${END}`);
  return [document.slice(0, begin), document.slice(begin + BEGIN.length, end), document.slice(end + END.length)];
}

function rowsIn(table: string): string[] {
  return table.split("\n").filter((line) => /^\| *\d+ \|/.test(line));
}

function numberOf(row: string): number {
  return Number(cellsOf(row)[0]);
}

function cellsOf(row: string): string[] {
  return row
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((cell) => cell.trim());
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function count(number: number): string {
  return number.toLocaleString("en");
}
