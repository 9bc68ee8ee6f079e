import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { FAULTS } from "./fault-catalogue.ts";
import { faultRows, findFaultTests, readFaultReport } from "./fault-table.ts";

/** For Vitest (`globalSetup`): prints, after the tests, the table of the faults that they injected. */
export default function setup(): (() => void) | undefined {
  // `npm run faults` prints its own.
  if (process.env["EMCACHE_FAULTS_REPORT"] !== undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "emcache-faults-"));
  const report = join(folder, "report.jsonl");
  writeFileSync(report, "");
  // The test processes inherit it.
  process.env["EMCACHE_FAULTS_REPORT"] = report;
  return () => {
    delete process.env["EMCACHE_FAULTS_REPORT"];
    const rows = faultRows(readFaultReport(report), findFaultTests(resolve(import.meta.dirname, "../..")));
    rmSync(folder, { recursive: true, force: true });
    if (rows.size === 0) return;
    const left = FAULTS.map(({ number }) => number).filter((number) => !rows.has(number));
    console.log(`\nFaults injected (the short form; \`npm run faults\` injects all in full):\n`);
    console.log([...rows.values()].join("\n"));
    if (left.length > 0) console.log(`\nnot in this run: ${left.join(", ")}`);
  };
}
