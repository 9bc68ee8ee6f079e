import type * as OpenTelemetry from "@opentelemetry/api";
import type { SpanExporter, TracerProvider } from "@opentelemetry/sdk-trace";
import { messageOf } from "./error-message.ts";
import type { Logger } from "./logger.ts";
import type { Service } from "./service.ts";
import type { Span, SpanOptions, Tracer } from "./tracer.ts";
import { untilAborted } from "./until-aborted.ts";

/** One line of a collector that is away for long. */
const WARNING_INTERVAL_MS = 60_000;

export interface OtlpTracerOptions {
  /** Of a collector that takes OTLP over HTTP, without the path `/v1/traces`. */
  readonly endpoint: string;
  /** How many traces of a hundred are taken. */
  readonly samplePercent: number;
  readonly programVersion: string;
  readonly logger: Logger;
}

type Api = typeof OpenTelemetry;

/**
 * Sends spans to a collector by OTLP. OpenTelemetry is loaded when this starts, so that a process without it pays
 * nothing; its own variables (`OTEL_EXPORTER_OTLP_HEADERS` and others) count too. What the collector does not take is
 * dropped: at most 2048 spans wait.
 */
export class OtlpTracer implements Service, Tracer {
  readonly name = "tracing";
  readonly #options: OtlpTracerOptions;
  #provider: TracerProvider | null = null;
  #tracer: { readonly tracer: OpenTelemetry.Tracer; readonly api: Api } | null = null;
  #warnedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: OtlpTracerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { endpoint, samplePercent, programVersion, logger } = this.#options;
    const [api, sdk, { OTLPTraceExporter }, { defaultResource, resourceFromAttributes }] = await Promise.all([
      import("@opentelemetry/api"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
    ]);
    const exporter = this.#watched(new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, "")}/v1/traces` }));
    const attributes = { "service.name": "emcache", "service.version": programVersion };
    this.#provider = new sdk.TracerProvider({
      resource: defaultResource().merge(resourceFromAttributes(attributes)),
      sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(samplePercent / 100) }),
      spanProcessors: [new sdk.BatchSpanProcessor({ exporter })],
    });
    this.#tracer = { tracer: this.#provider.getTracer("emcache", programVersion), api };
    logger.info({ event: "tracing_started", endpoint }, "traces are sent");
  }

  /** What was taken is sent as far as `signal` allows. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#tracer = null;
    if (this.#provider !== null) await untilAborted(this.#provider.shutdown(), signal).catch(() => "given up");
  }

  span(name: string, { attributes, startMs, parent, isServer = false }: SpanOptions): Span {
    if (this.#tracer === null) return NO_SPAN;
    const { tracer, api } = this.#tracer;
    const kind = isServer ? api.SpanKind.SERVER : api.SpanKind.INTERNAL;
    const options = { kind, attributes: { ...attributes }, ...(startMs === undefined ? {} : { startTime: startMs }) };
    return spanOf(tracer.startSpan(name, options, contextOf(parent, api)), api);
  }

  /** The exporter, whose failures are told. */
  #watched(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans, onResult) =>
        exporter.export(spans, (result) => {
          if (result.error !== undefined) this.#warn(result.error);
          onResult(result);
        }),
      shutdown: () => exporter.shutdown(),
      forceFlush: async () => exporter.forceFlush?.(),
    };
  }

  #warn(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#warnedAtMs < WARNING_INTERVAL_MS) return;
    this.#warnedAtMs = nowMs;
    this.#options.logger.warn({ event: "tracing_failed", reason: messageOf(error) }, "traces were not taken");
  }
}

const NO_SPAN: Span = { set: () => undefined, end: () => undefined };

function spanOf(span: OpenTelemetry.Span, { SpanStatusCode }: Api): Span {
  return {
    set: (attributes) => void span.setAttributes({ ...attributes }),
    end(error, endMs) {
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
      span.end(endMs);
    },
  };
}

/** W3C, "Trace Context", version 00; what else a client sends begins a trace of its own. */
function contextOf(parent: string | undefined, { ROOT_CONTEXT, trace }: Api): OpenTelemetry.Context {
  const [, traceId, spanId, flags] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(parent ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
  const context: OpenTelemetry.SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
  };
  return trace.setSpanContext(ROOT_CONTEXT, context);
}
