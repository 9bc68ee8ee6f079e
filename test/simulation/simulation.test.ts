import fc from "fast-check";
import { expect, test } from "vitest";
import { type Scenario, scenario } from "./scenario.ts";
import { Simulation } from "./simulation.ts";

/** Runs of `npm test`, 23 s of CPU time; a night's: `EMCACHE_SIM_RUNS=20000`. */
const RUNS = Number(process.env["EMCACHE_SIM_RUNS"] ?? 250);

/** A failing run is repeated with what it printed: `EMCACHE_SIM_SEED` and `EMCACHE_SIM_PATH`. */
const SEED = process.env["EMCACHE_SIM_SEED"];
const PATH = process.env["EMCACHE_SIM_PATH"];

/** How long a failing run is made smaller. */
const SHRINK_MS_MAX = 20_000;

async function simulate(given: Scenario): Promise<Simulation> {
  const simulation = new Simulation(given);
  try {
    await simulation.run();
  } catch (error) {
    if (PATH !== undefined) console.log(simulation.scheduler.trace.join("\n"));
    throw error;
  }
  return simulation;
}

test(
  "whatever happens in whatever order, caches become the source, and no document goes back in time",
  async () => {
    const seed = SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(SEED);
    let rowCount = 0;
    let stepCount = 0;
    let failedAtMs: number | null = null;
    const details = await fc.check(
      fc.asyncProperty(scenario, async (given) => {
        if (failedAtMs !== null && performance.now() - failedAtMs > SHRINK_MS_MAX) return;
        const simulation = await simulate(given).catch((error: unknown) => {
          failedAtMs ??= performance.now();
          throw error;
        });
        rowCount += simulation.rowCount;
        stepCount += simulation.scheduler.stepCount;
      }),
      { seed, numRuns: RUNS, ...(PATH === undefined ? {} : { path: PATH }), endOnFailure: PATH !== undefined },
    );
    console.log(`simulated ${details.numRuns} runs, ${stepCount} steps, ${rowCount} rows in the log, seed ${seed}`);
    if (!details.failed) return;
    const error =
      details.errorInstance instanceof Error ? details.errorInstance : new Error(String(details.errorInstance));
    expect.fail(
      `run ${details.numRuns} of seed ${seed}: ${error.stack ?? error.message}\n` +
        `Repeat it: EMCACHE_SIM_SEED=${seed} EMCACHE_SIM_PATH=${details.counterexamplePath} vitest run --project unit test/simulation\n` +
        JSON.stringify(details.counterexample?.[0]),
    );
  },
  24 * 3_600_000,
);
