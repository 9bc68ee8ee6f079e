import type { Replicator } from "./cache/replicator.ts";
import { packageVersion } from "./cli/package-version.ts";
import type { Config } from "./config/config.ts";
import { Metrics } from "./metrics/metrics.ts";
import type { MetricsParts } from "./metrics/metrics-facts.ts";
import { type Logger, moduleLogger } from "./runtime/logger.ts";
import { OtlpTracer } from "./runtime/otlp-tracer.ts";

interface AppMetricsParts {
  readonly logger: Logger;
  /** What the parts know; some of them are made later. */
  readonly parts: () => MetricsParts;
  readonly replicator: Replicator;
}

/** What sends traces; null where none are wanted. */
export function tracerOf(config: Config, logger: Logger): OtlpTracer | null {
  if (config.tracing === null) return null;
  const programVersion = packageVersion();
  return new OtlpTracer({ ...config.tracing, programVersion, logger: moduleLogger(logger, "tracing") });
}

/** The figures of the process. */
export function metricsOf(config: Config, { logger, parts, replicator }: AppMetricsParts): Metrics {
  const hasCaches = config.roles.includes("replicate");
  const metrics = new Metrics({
    parts,
    programVersion: packageVersion(),
    lineIntervalMs: config.logging.metricsIntervalS * 1000,
    hasCaches,
    logger: moduleLogger(logger, "metrics"),
  });
  if (hasCaches) replicator.onStatuses((statuses) => metrics.observeCaches(statuses));
  return metrics;
}
