import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/**/*.test.ts", "scripts/**/*.test.ts", "test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    // Native modules and database servers belong to a process of their own.
    pool: "forks",
    // Each file may start database servers: two at a time is what a machine with two cores bears.
    maxWorkers: 2,
    // Time for a PostgreSQL to be initialised on a busy machine.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
  },
});
