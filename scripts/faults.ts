import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { FAULTS } from "../test/support/fault-catalogue.ts";
import { faultRows, findFaultTests, readFaultReport, withFaultRows } from "../test/support/fault-table.ts";

/**
 * `npm run faults [-- N… [--short]]`: injects the faults with these numbers, else all, in full (`--short`: as often as
 * `npm test` does), and writes what came of them into the table of docs/06-internals.md. Rows whose tests were not run
 * or failed stay as they were.
 */
const root = resolve(import.meta.dirname, "..");
const document = join(root, "docs/06-internals.md");
const numbers = process.argv.slice(2).filter((argument) => /^\d+$/.test(argument));
const isShort = process.argv.includes("--short");
const folder = mkdtempSync(join(tmpdir(), "emcache-faults-"));
const report = join(folder, "report.jsonl");
writeFileSync(report, "");

const pattern = `fault (${numbers.length === 0 ? "\\d+" : numbers.join("|")}): `;
const vitest = join(root, "node_modules/.bin/vitest");
const run = spawn(vitest, ["run", "--project", "system", "test/faults", "-t", pattern], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, EMCACHE_FAULTS_REPORT: report, ...(isShort ? {} : { EMCACHE_TEST_SCALE: "full" }) },
});
const code = await new Promise<number>((resolve) => run.once("exit", (exit) => resolve(exit ?? 1)));

const tests = findFaultTests(root);
const rows = faultRows(readFaultReport(report), tests);
rmSync(folder, { recursive: true });
writeFileSync(document, withFaultRows(readFileSync(document, "utf8"), rows, tests));
execFileSync(join(root, "node_modules/.bin/oxfmt"), [document], { cwd: root });
console.log([...rows.values()].join("\n"));
const asked = numbers.length === 0 ? FAULTS.map(({ number }) => number) : numbers.map(Number);
const missing = asked.filter((number) => !rows.has(number));
if (missing.length > 0) console.error(`nothing was reported of ${missing.join(", ")}: those rows stay as they were`);
process.exitCode = code !== 0 || missing.length > 0 ? 1 : 0;
