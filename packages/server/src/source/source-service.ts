import { EmcacheError } from "@emcache/protocol";
import type { Entity } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { ByteBudget } from "../runtime/byte-budget.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import type { ComponentHealth } from "../runtime/component-health.ts";
import { isAbort, messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Service } from "../runtime/service.ts";
import type { Tracer } from "../runtime/tracer.ts";
import { AppendQueue } from "./append-queue.ts";
import type { AppendedBatch, CaptureBatch, CaptureLog, CopyCheckpoint } from "./capture-log.ts";
import { type BeginCopy, type CopyRequestList, followCopyRequests } from "./copy-requests.ts";
import { CopyScheduler, type CopySettings } from "./copy-scheduler.ts";
import { EntityRouting } from "./entity-routing.ts";
import { MongoSource, type MongoSourceOptions } from "./mongo-source.ts";
import { OplogWindow } from "./oplog-window.ts";
import type { SourceConnection } from "./source-connection.ts";
import { StreamCapture } from "./stream-capture.ts";
import { StreamProgress } from "./stream-progress.ts";
import { StreamRequestDesk, type StreamRequestList } from "./stream-requests.ts";

/** The right to capture a source, held by one process at a time. */
export interface CaptureTurn {
  readonly log: CaptureLog;
  /** Aborts when another process has taken the source over. */
  readonly lost: AbortSignal;
  /** Hands the source over at once. */
  release(): Promise<void>;
}

/** The entities of a source, as the registry knows them now. */
export interface CapturedEntities {
  list(): readonly Entity[];
  onChange(listener: () => void): () => void;
}

export interface SourceServiceOptions {
  readonly mongo: MongoSourceOptions;
  /** Waits until this process may capture the source. */
  readonly takeTurn: (signal: AbortSignal) => Promise<CaptureTurn>;
  readonly entities: CapturedEntities;
  readonly copyRequests: CopyRequestList;
  /** What verifications want of the stream. Absent: nobody verifies. */
  readonly streamRequests?: StreamRequestList;
  readonly budget: ByteBudget;
  readonly copySettings: CopySettings;
  readonly health: ComponentHealth;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Takes the time of appends and of copies' chunks. */
  readonly tracer?: Tracer | null;
  /** Told of each batch once it is durable, and when its oldest change happened; null where it holds no change. */
  readonly onAppended?: (batch: CaptureBatch, appended: AppendedBatch, sourceTimeMs: number | null) => void;
  /** How the source is connected to. Default: `MongoSource.connect`. */
  readonly connect?: (options: MongoSourceOptions, signal: AbortSignal) => Promise<SourceConnection>;
}

/** How the capture of a source is, for the API. */
export interface CaptureStatus {
  /** Milliseconds since the capture last knew that it had everything of its source; null where it does not run here. */
  readonly lagMs: number | null;
  readonly copies: ReadonlyMap<number, CopyCheckpoint>;
  /** Whether this process holds the source's lease; one that doesn't waits for it. */
  readonly hasLease: boolean;
  /** How long the capture may stand still until its place in the source's history is lost; null if not known. */
  readonly oplogWindowMs: number | null;
}

const RETRY_DELAY_MS_MIN = 200;
const RETRY_DELAY_MS_MAX = 10_000;

/** Captures one source whenever it is this process's turn, and comes back from every failure. */
export class SourceService implements Service {
  readonly name: string;
  readonly #options: SourceServiceOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;
  readonly #window = new OplogWindow();
  #capture: { readonly stream: StreamCapture; readonly copies: CopyScheduler } | null = null;
  #hasLease = false;

  constructor(options: SourceServiceOptions) {
    this.#options = options;
    this.name = `source.${options.mongo.sourceName}`;
  }

  get sourceName(): string {
    return this.#options.mongo.sourceName;
  }

  async start(): Promise<void> {
    this.#running = this.#run(this.#stop.signal);
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#stop.abort();
    if (this.#running !== null) await untilAborted(this.#running, signal).catch(() => "given up");
    this.#options.health.stopped();
  }

  status(): CaptureStatus {
    const { stream, copies } = this.#capture ?? {};
    return {
      lagMs: stream?.lagMs ?? null,
      copies: copies?.states() ?? new Map(),
      hasLease: this.#hasLease,
      oplogWindowMs: this.#window.leftMs(stream?.capturedTime ?? null),
    };
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { health, logger } = this.#options;
    try {
      for (;;) {
        await retryForever((attempt) => this.#takeTurn(attempt), {
          signal,
          clock: this.#options.clock ?? systemClock,
          delayMsMin: RETRY_DELAY_MS_MIN,
          delayMsMax: RETRY_DELAY_MS_MAX,
          onError: (error, attempt, delayMs) => {
            health.degraded(error, { attempt, delayMs });
            const context = { service: this.name, attempt, delayMs, reason: messageOf(error) };
            logger.warn({ event: "capture_interrupted", ...context }, "capture interrupted");
          },
        });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #takeTurn(signal: AbortSignal): Promise<void> {
    const turn = await this.#options.takeTurn(signal);
    this.#hasLease = true;
    try {
      const connect = this.#options.connect ?? ((options, until) => MongoSource.connect(options, until));
      const source = await connect(this.#options.mongo, signal);
      try {
        await this.#captureWith(source, turn, signal);
      } finally {
        await source.close();
      }
    } finally {
      this.#hasLease = false;
      await turn.release();
    }
  }

  /** Captures until the turn is lost, the process stops or a part fails; the other parts are stopped then. */
  async #captureWith(source: SourceConnection, turn: CaptureTurn, outer: AbortSignal): Promise<void> {
    const { entities, copyRequests, streamRequests, budget, copySettings, health, logger } = this.#options;
    const clock = this.#options.clock ?? systemClock;
    const part = new AbortController();
    const signal = AbortSignal.any([outer, turn.lost, part.signal]);
    const start = await turn.log.load(signal);
    const progress = new StreamProgress(source.isSharded);
    const desk = new StreamRequestDesk(progress);
    const routing = new EntityRouting();
    const queue = this.#queueInto(turn.log, (version) => copies.stop(version));
    const ending: { failure: Error | null } = { failure: null };
    const fail = (error: unknown): void => {
      ending.failure ??= asError(error);
      part.abort();
    };
    const shared = { source, routing, progress, queue, budget, logger, clock };
    const copies = new CopyScheduler({
      ...shared,
      settings: copySettings,
      onFailure: fail,
      onRetry: (error) => health.retried(error),
      tracer: this.#options.tracer ?? null,
    });
    copies.load(start.copies);
    let isStale = true;
    const unsubscribe = entities.onChange(() => (isStale = true));
    const refreshRouting = (): void => {
      if (!isStale) return;
      isStale = false;
      routing.update(entities.list());
      // Without a checkpoint the first opening begins every copy together with it.
      if (stream.hasHistory) copies.reconcile();
    };
    const stream = new StreamCapture({
      ...shared,
      checkpoint: start.checkpoint,
      copies,
      requests: desk,
      health,
      refreshRouting,
    });
    this.#capture = { stream, copies };
    try {
      const begin: BeginCopy = (version, onLogged) => stream.hasHistory && copies.begin(version, onLogged);
      const onPaused = (entityNames: ReadonlySet<string>): void => copies.setPaused(entityNames);
      const requests = followCopyRequests(copyRequests, { begin, onPaused }, { clock, signal });
      const served =
        streamRequests === undefined ? [] : [desk.serve(streamRequests, source.sourceName, { clock, signal })];
      const window = this.#window.follow(source, clock, signal);
      const parts = [queue.run(signal), stream.run(signal), requests, window, ...served];
      await Promise.all(parts.map((running) => running.catch(fail)));
    } finally {
      unsubscribe();
      this.#capture = null;
      await copies.end();
    }
    outer.throwIfAborted();
    if (turn.lost.aborted)
      throw new EmcacheError("lease_lost", `Source ${source.sourceName} is captured by another process now`);
    if (ending.failure !== null && !isAbort(ending.failure)) throw ending.failure;
  }

  #queueInto(log: CaptureLog, onStop: (version: number) => CopyCheckpoint | null): AppendQueue {
    const { logger, health, clock, onAppended, tracer = null } = this.#options;
    return new AppendQueue({
      log,
      tracer,
      clock: clock ?? systemClock,
      onStop,
      onError: (error, attempt, delayMs) => {
        // A log that is full, read-only or away: the source itself may be well, but nothing of it is cached.
        health.degraded(error, { attempt, delayMs });
        logger.warn(
          { event: "append_retry", source: log.sourceName, attempt, delayMs, reason: messageOf(error) },
          "append failed",
        );
      },
      onRecovered: () => health.healthy(),
      ...(onAppended === undefined ? {} : { onAppended }),
    });
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new EmcacheError("internal", messageOf(error));
}
