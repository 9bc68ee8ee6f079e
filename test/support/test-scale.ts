/**
 * How big the load suites are. `EMCACHE_TEST_SCALE=full` is the size of the acceptance (200,000 documents); a number
 * is a share of it; the default fits the whole suite into a few minutes on 2 cores.
 */
const DEFAULT_SCALE = 0.2;

export function testScale(): number {
  const given = process.env["EMCACHE_TEST_SCALE"];
  if (given === undefined || given === "") return DEFAULT_SCALE;
  const scale = given === "full" ? 1 : Number(given);
  if (!(scale > 0)) throw new Error(`EMCACHE_TEST_SCALE is ${given}; use full or a number above 0`);
  return scale;
}

/** `count` of the full size at this run's scale. */
export function scaled(count: number): number {
  return Math.max(1, Math.round(count * testScale()));
}
