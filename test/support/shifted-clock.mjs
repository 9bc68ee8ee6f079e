// Loaded by `--import` into a process under test: its wall clock is wrong by what a file says, in ms, read anew each
// time. Monotonic clocks (performance.now, process.hrtime) are right, as they are when an operator or NTP sets a clock.
import { readFileSync } from "node:fs";

const file = process.env["EMCACHE_TEST_CLOCK_FILE"];
const RealDate = Date;

function offsetMs() {
  try {
    return Number(readFileSync(file ?? "", "utf8")) || 0;
  } catch {
    return 0;
  }
}

globalThis.Date = class Date extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + offsetMs());
    else super(...args);
  }

  static now() {
    return RealDate.now() + offsetMs();
  }
};
