import type { CacheStatus } from "../cache/cache-status.ts";
import type { ObservedRequest, QueueState } from "../api/metrics-port.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import type { AppendedBatch, CaptureBatch } from "../source/capture-log.ts";
import { AppendTotals } from "./append-totals.ts";
import { CopySpeed } from "./copy-speed.ts";
import { EventLoopDelay } from "./event-loop-delay.ts";
import { collectFacts, type MetricsFacts, type MetricsParts } from "./metrics-facts.ts";
import { metricsLine } from "./metrics-line.ts";
import { MetricSet } from "./metric-set.ts";
import { ReplicationLatency } from "./replication-latency.ts";
import { showFacts } from "./show-facts.ts";

/** How often copies are looked at for their speed. */
const COPY_LOOK_INTERVAL_MS = 5_000;

export interface MetricsOptions {
  /** Asked at each exposition and each line; made later than this, because some of them report to it. */
  readonly parts: () => MetricsParts;
  readonly programVersion: string;
  /** Time between two lines of the log; 0: none. */
  readonly lineIntervalMs: number;
  /** Whether this process keeps caches, so that it can see changes arrive in them. */
  readonly hasCaches: boolean;
  readonly logger: Logger;
  readonly clock?: Clock;
}

/** What operators see of the process in figures: the exposition for Prometheus, and a line of the log. */
export class Metrics implements Service {
  readonly name = "metrics";
  readonly #options: MetricsOptions;
  readonly #clock: Clock;
  readonly #set = new MetricSet();
  readonly #appended = new AppendTotals();
  readonly #speed = new CopySpeed();
  readonly #loopDelay = new EventLoopDelay();
  readonly #latency: ReplicationLatency;
  readonly #queues = new Map<string, () => QueueState>();
  readonly #end = new AbortController();
  /** Names of entities whose latency was observed. */
  readonly #observed = new Set<string>();
  #timers: NodeJS.Timeout[] = [];
  #text: Promise<string> | null = null;

  constructor(options: MetricsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#latency = new ReplicationLatency((version, seconds) => this.#observeLatency(version, seconds));
  }

  get contentType(): string {
    return this.#set.contentType;
  }

  async start(): Promise<void> {
    this.#loopDelay.start();
    const look = (): void => this.#lookAtCopies();
    this.#timers = [setInterval(look, COPY_LOOK_INTERVAL_MS)];
    const { lineIntervalMs } = this.#options;
    if (lineIntervalMs > 0) this.#timers.push(setInterval(() => void this.#writeLine(), lineIntervalMs));
    for (const timer of this.#timers) timer.unref();
  }

  async stop(): Promise<void> {
    this.#end.abort();
    for (const timer of this.#timers) clearInterval(timer);
    this.#loopDelay.stop();
    this.#set.close();
  }

  /** What is held in memory somewhere, and its bound. */
  addQueue(name: string, state: () => QueueState): void {
    this.#queues.set(name, state);
  }

  /** A request was answered. */
  observeRequest({ method, route, statusCode, durationMs }: ObservedRequest): void {
    const status = `${Math.floor(statusCode / 100)}xx`;
    this.#set.observe("emcache_http_request_duration_seconds", { method, route, status }, durationMs / 1000);
  }

  /** A source's capture has appended a batch; `sourceTimeMs`: when its oldest change happened, null where it has none. */
  observeAppend(source: string, batch: CaptureBatch, appended: AppendedBatch, sourceTimeMs: number | null): void {
    this.#appended.add(batch.rows);
    if (sourceTimeMs === null || batch.rows.length === 0) return;
    // The clocks are those of two machines.
    const seconds = Math.max(0, this.#clock.nowMs() - sourceTimeMs) / 1000;
    this.#set.observe("emcache_source_latency_seconds", { source }, seconds);
    if (this.#options.hasCaches) this.#latency.appended(batch, appended, sourceTimeMs);
  }

  /** The caches have told how they are. */
  observeCaches(statuses: ReadonlyMap<number, CacheStatus>): void {
    this.#latency.applied(statuses);
  }

  /** The exposition, in Prometheus' text format. Those who ask at once get the same. */
  text(): Promise<string> {
    this.#text ??= this.#expose().finally(() => (this.#text = null));
    return this.#text;
  }

  async #expose(): Promise<string> {
    const parts = this.#options.parts();
    this.#lookAtCopies();
    const facts = await collectFacts(parts, this.#end.signal);
    this.#forgetOthers(facts);
    showFacts(this.#set, parts, facts, {
      programVersion: this.#options.programVersion,
      loopDelay: this.#loopDelay.last(),
      appended: this.#appended.all(),
      speed: this.#speed,
      queues: this.#queueStates(parts),
      nowMs: this.#clock.nowMs(),
      monotonicMs: this.#clock.monotonicMs(),
    });
    return this.#set.text();
  }

  async #writeLine(): Promise<void> {
    const parts = this.#options.parts();
    const facts = await collectFacts(parts, this.#end.signal);
    if (this.#end.signal.aborted) return;
    this.#forgetOthers(facts);
    const queueBytes = [...this.#queueStates(parts).values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const beside = { loopDelay: this.#loopDelay.last(), appended: this.#appended.all(), queueBytes };
    this.#options.logger.info({ event: "metrics", ...metricsLine(parts, facts, beside) }, "figures");
  }

  #queueStates({ hub }: MetricsParts): ReadonlyMap<string, QueueState> {
    const given = [...this.#queues].map(([name, state]) => [name, state()] as const);
    return new Map([...given, ["follow", hub.memory]]);
  }

  #lookAtCopies(): void {
    const copies = this.#options.parts().sources.flatMap((source) => [...source.status().copies.values()]);
    this.#speed.look(copies, this.#clock.monotonicMs());
  }

  #observeLatency(version: number, seconds: number): void {
    const known = this.#options.parts().registry.list();
    const name = known.find(({ entity }) => entity.id === version)?.entity.name;
    if (name === undefined) return;
    this.#observed.add(name);
    this.#set.observe("emcache_entity_latency_seconds", { entity: name }, seconds);
  }

  /** What was deleted is not shown any more, and costs no memory. */
  #forgetOthers({ versions }: MetricsFacts): void {
    const ids = new Set(versions.map(({ version }) => version));
    this.#appended.keep(ids);
    this.#latency.keep(ids);
    const names = new Set(versions.map(({ name }) => name));
    for (const name of this.#observed) {
      if (names.has(name)) continue;
      this.#observed.delete(name);
      this.#set.forget("emcache_entity_latency_seconds", { entity: name });
    }
  }
}
