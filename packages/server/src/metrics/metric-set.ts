import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { type LabelsOf, type MetricDefinition, type MetricName, METRICS } from "./metric-table.ts";

type NameOf<Type extends MetricDefinition["type"]> = {
  [Name in MetricName]: (typeof METRICS)[Name]["type"] extends Type ? Name : never;
}[MetricName];

/**
 * The metrics of one process, as prom-client keeps and prints them, beside its metrics of the process itself
 * (`process_*`, `nodejs_*`). Gauges and counters show what the parts know, set anew for each exposition; histograms
 * gather what is observed.
 */
export class MetricSet {
  readonly #registry = new Registry();
  readonly #shown = new Map<string, Gauge | Counter>();
  readonly #histograms = new Map<string, Histogram>();

  constructor() {
    collectDefaultMetrics({ register: this.#registry });
    for (const [name, { type, labels, help, buckets }] of Object.entries<MetricDefinition>(METRICS)) {
      const options = { name, help: `${help}.`, labelNames: [...labels], registers: [this.#registry] };
      if (type === "gauge") this.#shown.set(name, new Gauge(options));
      else if (type === "counter") this.#shown.set(name, new Counter(options));
      else this.#histograms.set(name, new Histogram({ ...options, buckets: [...(buckets ?? [])] }));
    }
  }

  /** Media type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Forgets what gauges and counters show. */
  clearShown(): void {
    for (const metric of this.#shown.values()) {
      metric.reset();
      // Without labels it would come back as 0, and what is not known is absent.
      metric.remove({});
    }
  }

  /** Shows a gauge; a value that is not known is absent. */
  gauge<Name extends NameOf<"gauge">>(name: Name, labels: LabelsOf<Name>, value: number | null): void {
    const metric = this.#shown.get(name);
    if (value !== null && metric instanceof Gauge) metric.set({ ...labels }, value);
  }

  /** Shows the whole of a counter. Once for each set of labels between two calls of `clearShown`. */
  counter<Name extends NameOf<"counter">>(name: Name, labels: LabelsOf<Name>, total: number): void {
    const metric = this.#shown.get(name);
    if (metric instanceof Counter) metric.inc({ ...labels }, total);
  }

  observe<Name extends NameOf<"histogram">>(name: Name, labels: LabelsOf<Name>, value: number): void {
    this.#histograms.get(name)?.observe({ ...labels }, value);
  }

  /** What was observed of these labels concerns nobody any more. */
  forget<Name extends NameOf<"histogram">>(name: Name, labels: LabelsOf<Name>): void {
    this.#histograms.get(name)?.remove({ ...labels });
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Ends what observes the process. */
  close(): void {
    this.#registry.clear();
  }
}
