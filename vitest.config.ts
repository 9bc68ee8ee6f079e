import { defineConfig } from "vitest/config";

// Native modules and database servers belong to a process of their own.
const pool = "forks";
const exclude = ["**/node_modules/**", "**/dist/**"];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "packages/**/*.test.ts",
            "scripts/**/*.test.ts",
            "test/support/*.test.ts",
            "test/invariants.test.ts",
            "test/simulation/*.test.ts",
          ],
          exclude,
          pool,
          // Each file may start database servers: two at a time is what a machine with two cores bears.
          maxWorkers: 2,
          // Time for a PostgreSQL to be initialised on a busy machine.
          testTimeout: 60_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: [...exclude, "test/support/**", "test/simulation/**", "test/invariants.test.ts"],
          globalSetup: ["test/support/fault-summary.ts"],
          pool,
          // Each suite runs whole servers and loads them: one after the other, after everything small has passed.
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 120_000,
          // The first run makes a Python environment for SecantusDB.
          hookTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    teardownTimeout: 20_000,
  },
});
