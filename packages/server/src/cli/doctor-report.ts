import { messageOf } from "../runtime/error-message.ts";
import { redactUri } from "../runtime/redact-uri.ts";
import { untilAborted } from "../runtime/until-aborted.ts";

/** `warn`: it works, but not as well as it could. `fail`: `emcache serve` would not do its work. */
export type DoctorStatus = "ok" | "warn" | "fail";

/** What one check of `emcache doctor` found. */
export interface DoctorLine {
  /** What was looked at: `source main`, `PostgreSQL`, `cache.base_dir`. */
  readonly part: string;
  /** What of it: `connection`, `privileges`. */
  readonly check: string;
  readonly status: DoctorStatus;
  /** What was found and what it means, without passwords. */
  readonly message: string;
  /** What to do about it; null where nothing is to be done. */
  readonly fix: string | null;
}

/** The lines of one part, gathered while its checks run. */
export class DoctorReport {
  readonly part: string;
  readonly lines: DoctorLine[] = [];

  constructor(part: string) {
    this.part = part;
  }

  ok(check: string, message: string): void {
    this.#add("ok", check, message, null);
  }

  warn(check: string, message: string, fix: string): void {
    this.#add("warn", check, message, fix);
  }

  fail(check: string, message: string, fix: string): void {
    this.#add("fail", check, message, fix);
  }

  #add(status: DoctorStatus, check: string, message: string, fix: string | null): void {
    this.lines.push({ part: this.part, check, status, message: redactUri(message), fix });
  }
}

/**
 * Runs the checks of one part, for `timeoutMs` at most, whatever hangs: then a line says so, and the lines so far stay.
 * Never throws.
 */
export async function doctorLines(
  part: string,
  timeoutMs: number,
  check: (report: DoctorReport, signal: AbortSignal) => Promise<void>,
): Promise<DoctorLine[]> {
  const report = new DoctorReport(part);
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    await untilAborted(check(report, signal), signal);
  } catch (error) {
    if (signal.aborted) {
      const message = `it did not answer within ${timeoutMs / 1000} s`;
      report.fail("answer", message, "It is frozen, overloaded, or the network loses what it says; run doctor again.");
    } else report.fail("check", messageOf(error), "This check itself failed; please report it.");
  }
  // What still runs in the background adds to the report, not to what was returned.
  return [...report.lines];
}
