import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { METRICS, type MetricDefinition } from "../../packages/server/src/metrics/metric-table.ts";
import { goTool, hasGo } from "../support/go-tool.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

const run = promisify(execFile);
const prometheus = fileURLToPath(new URL("../../deploy/prometheus", import.meta.url));
const folder = useTestFolder("alerts");

const PROMTOOL = "github.com/prometheus/prometheus/cmd/promtool@v0.316.0";

/** Compiling it takes minutes on a machine that has not done it before. */
const BUILD_TIMEOUT_MS = 1_800_000;

const read = (name: string): string => readFileSync(join(prometheus, name), "utf8");

describe.skipIf(!(await hasGo()))("alert rules (need Go)", () => {
  test(
    "promtool takes Prometheus' configuration and the rules, and each rule fires when it should and not before",
    async () => {
      const promtool = await goTool(PROMTOOL);
      await run(promtool, ["check", "config", "--lint=all", "--lint-fatal", join(prometheus, "prometheus.yml")]);
      await run(promtool, ["test", "rules", join(prometheus, "alerts.test.yml")]);
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "a rule with another threshold fails its test",
    async () => {
      const promtool = await goTool(PROMTOOL);
      writeFileSync(
        join(folder, "alerts.yml"),
        read("alerts.yml").replace("_lag_seconds > 60", "_lag_seconds > 6000000"),
      );
      writeFileSync(join(folder, "alerts.test.yml"), read("alerts.test.yml"));
      await expect(run(promtool, ["test", "rules", join(folder, "alerts.test.yml")])).rejects.toThrow(
        /EmcacheSourceLag/,
      );
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "promtool's linter has nothing against the metrics' names and help",
    async () => {
      const promtool = await goTool(PROMTOOL);
      const own = Object.entries<MetricDefinition>(METRICS).flatMap(([name, { type, help }]) => [
        `# HELP ${name} ${help}.`,
        `# TYPE ${name} ${type}`,
        ...(type === "histogram" ? [`${name}_bucket{le="+Inf"} 1`, `${name}_sum 1`, `${name}_count 1`] : [`${name} 1`]),
      ]);
      const file = join(folder, "metrics.txt");
      const lint = (lines: readonly string[]): Promise<{ stdout: string; stderr: string }> => {
        writeFileSync(file, `${lines.join("\n")}\n`);
        return run("sh", ["-c", '"$0" check metrics < "$1"', promtool, file]);
      };
      await expect(lint(own)).resolves.toEqual({ stdout: "", stderr: "" });
      await expect(lint(own.map((line) => line.replace("retries_total", "retries")))).rejects.toThrow(/retries/);
    },
    BUILD_TIMEOUT_MS,
  );
});
