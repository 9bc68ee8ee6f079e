import type { DoctorReport } from "./doctor-report.ts";

/** Above it, figures of lag are visibly wrong. */
const SKEW_MS_MAX = 1_000;

/** When a server said its time. All in milliseconds since 1970, by this machine's clock but for `serverMs`. */
export interface ClockReading {
  readonly askedMs: number;
  readonly serverMs: number;
  readonly answeredMs: number;
}

/** Compares a server's clock with this machine's, as exactly as the time of the question's way allows. */
export function reportClock({ askedMs, serverMs, answeredMs }: ClockReading, report: DoctorReport): void {
  const skewMs = serverMs < askedMs ? serverMs - askedMs : Math.max(serverMs - answeredMs, 0);
  if (Math.abs(skewMs) <= SKEW_MS_MAX) {
    report.ok("clock", "its clock agrees with this machine's to a second");
    return;
  }
  const seconds = (Math.abs(skewMs) / 1000).toFixed(1);
  report.warn(
    "clock",
    `its clock is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} this machine's: nothing is lost, but lag is shown wrong by that`,
    "Let both machines follow an NTP server: timedatectl set-ntp true",
  );
}
