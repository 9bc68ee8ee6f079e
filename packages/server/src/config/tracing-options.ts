import { integerOption, textOption } from "./option.ts";
import { checkUrl } from "./snapshot-options.ts";

/** The settings of traces, by their key in config.toml. */
export const TRACING_OPTIONS = {
  "tracing.otlp_endpoint": textOption({
    description:
      "Where an OpenTelemetry collector takes traces by OTLP over HTTP, without the path /v1/traces; `OTEL_EXPORTER_OTLP_HEADERS` is sent with them. Empty: nothing is traced.",
    type: "http:// or https:// URL",
    default: "",
    reason: "metrics and the log answer most questions; traces show where the time of one append or request went",
    example: "http://localhost:4318",
    check: checkUrl,
  }),
  "tracing.sample_percent": integerOption({
    description: "How many traces of a hundred are taken; those that a client's `traceparent` asks for all are.",
    min: 1,
    max: 100,
    unit: "percent",
    default: 100,
    reason: "spans are of appends, pages, chunks, snapshots and requests, not of rows",
  }),
} as const;
