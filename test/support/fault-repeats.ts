import { testScale } from "./test-scale.ts";

/**
 * How often a fault is injected in this run: what `EMCACHE_FAULT_REPEATS` says, else the number of the table of faults
 * with `EMCACHE_TEST_SCALE=full`, else few enough for every `npm test`.
 */
export function faultRepeats(repeats: { readonly short: number; readonly full: number }): number {
  const given = process.env["EMCACHE_FAULT_REPEATS"];
  if (given === undefined || given === "") return testScale() === 1 ? repeats.full : repeats.short;
  const count = Number(given);
  if (!Number.isSafeInteger(count) || count < 1) throw new Error(`EMCACHE_FAULT_REPEATS is ${given}; use 1 or more`);
  return count;
}
