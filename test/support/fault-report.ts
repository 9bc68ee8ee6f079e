import { appendFileSync } from "node:fs";

/** One row of the table of faults (docs/06-internals.md, "Faults"), as one run of its test found it. */
export interface FaultLine {
  /** The row's number there, 1 to 27. */
  readonly fault: number;
  readonly title: string;
  /** Against what it was injected: `SecantusDB`, `dev-mongo`, or both in a line each. */
  readonly source: "SecantusDB" | "dev-mongo";
  /** How often it was injected in this run. */
  readonly injected: number;
  /** Documents, rows or transactions lost or wrong afterwards. A test that finds one fails; so this is 0. */
  readonly lost: number;
  /** Why it was not injected here, or null. */
  readonly skipped: string | null;
}

/** Appends the line to the file that `EMCACHE_FAULTS_REPORT` names; without it, nothing is kept. */
export function reportFault(line: FaultLine): void {
  const file = process.env["EMCACHE_FAULTS_REPORT"];
  if (file === undefined || file === "") return;
  // One write to a file that is only appended to: several test processes may report at once.
  appendFileSync(file, `${JSON.stringify(line)}\n`);
}
