import { randomUUID } from "node:crypto";
import type { ByteBudget } from "../runtime/byte-budget.ts";
import type { Clock } from "../runtime/clock.ts";
import { isAbort, messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Tracer } from "../runtime/tracer.ts";
import type { AppendQueue } from "./append-queue.ts";
import type { CopyCheckpoint, StreamCheckpoint } from "./capture-log.ts";
import { CopyPace } from "./copy-pace.ts";
import { CopyRun } from "./copy-run.ts";
import type { EntityRouting, Target } from "./entity-routing.ts";
import type { LogRow } from "./log-row.ts";
import { syncRow } from "./row-builder.ts";
import type { ReadFrom, SourceConnection } from "./source-connection.ts";
import type { StreamProgress } from "./stream-progress.ts";

/** How gently copies read. */
export interface CopySettings {
  /** Copies of one source at a time. */
  readonly maxConcurrent: number;
  /** Documents a second of all copies of one source at most; 0 for no limit. */
  readonly rowsPerSMax: number;
  /** Default: `primary`. */
  readonly readPreference?: ReadFrom;
}

export interface CopySchedulerOptions {
  readonly source: SourceConnection;
  readonly routing: EntityRouting;
  readonly progress: StreamProgress;
  readonly queue: AppendQueue;
  readonly budget: ByteBudget;
  readonly settings: CopySettings;
  readonly logger: Logger;
  readonly clock: Clock;
  /** A copy failed for good: the run of the source ends with this error. */
  readonly onFailure: (error: unknown) => void;
  /** A copy is tried again because of this error. */
  readonly onRetry: (error: unknown) => void;
  /** Takes the time of chunks. */
  readonly tracer: Tracer | null;
}

interface Active {
  readonly run: CopyRun;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

/**
 * Which entity versions of a source need a copy, and the copies that run. Every version is copied once; again when
 * its history was lost, its cache asks for it, or its collection was replaced by another.
 */
export class CopyScheduler {
  readonly #options: CopySchedulerOptions;
  readonly #pace: CopyPace;
  readonly #checkpoints = new Map<number, CopyCheckpoint>();
  readonly #active = new Map<number, Active>();
  /** Names of entities; null until it is known which: no copy starts before. */
  #paused: ReadonlySet<string> | null = null;

  constructor(options: CopySchedulerOptions) {
    this.#options = options;
    this.#pace = new CopyPace(options.settings, options.clock);
  }

  /** What the log knows of the copies. */
  load(copies: readonly CopyCheckpoint[]): void {
    for (const copy of copies) this.#checkpoints.set(copy.version, copy);
  }

  /** Whether a copy runs or is about to: its first chunk waits for the stream's next empty answer. */
  get isDue(): boolean {
    if (this.#active.size > 0) return true;
    for (const { version, entityName } of this.#options.routing.targets()) {
      if (this.#checkpoints.get(version)?.state === "running" && this.#paused?.has(entityName) === false) return true;
    }
    return false;
  }

  /** Whether the version takes nothing until a new copy: its policy stopped it, or keeps the rows of a lost collection. */
  isHalted(version: number): boolean {
    const state = this.#checkpoints.get(version)?.state;
    return state === "stopped" || state === "kept";
  }

  /** A reject stopped the version: its copy ends. Returns what is to be logged with that reject; null if unknown here. */
  stop(version: number): CopyCheckpoint | null {
    const target = this.#options.routing.target(version);
    if (target === null || !this.#checkpoints.has(version)) return null;
    const context = { entity: target.entityName, version };
    this.#options.logger.error({ event: "entity_stopped", ...context }, "a reject stopped the entity");
    return this.#halt(version, "stopped");
  }

  /** Entities whose copies rest; those that run end, and go on from where they were. */
  setPaused(entityNames: ReadonlySet<string>): void {
    this.#paused = entityNames;
    for (const [version, { abort }] of this.#active) {
      const target = this.#options.routing.target(version);
      if (target === null || abort.signal.aborted || !entityNames.has(target.entityName)) continue;
      const context = { entity: target.entityName, version };
      this.#options.logger.info({ event: "copy_paused", ...context }, "the copy rests");
      abort.abort();
    }
  }

  /** How far each version's copy is. */
  states(): ReadonlyMap<number, CopyCheckpoint> {
    const states = new Map(this.#checkpoints);
    for (const [version, { run }] of this.#active) states.set(version, run.checkpoint);
    return states;
  }

  /** Versions that joined begin their copy, those that left end it. */
  reconcile(): void {
    const { routing } = this.#options;
    for (const version of this.#checkpoints.keys()) {
      if (routing.target(version) !== null) continue;
      this.#cancel(version);
      this.#checkpoints.delete(version);
    }
    for (const { version } of routing.targets()) if (!this.#checkpoints.has(version)) this.begin(version);
  }

  /** A new copy of the version, from the first document on; false where the version is not fed from this source. */
  begin(version: number, onLogged: () => void = () => undefined): boolean {
    if (this.#options.routing.target(version) === null) return false;
    const rows = [this.#fresh(version)];
    this.#options.queue.push({ rows, copies: [this.#checkpointOf(version)], sizeBytes: 0, release: onLogged });
    return true;
  }

  /** New copies of all versions, in one append with the checkpoint that they justify. */
  beginAll(checkpoint: StreamCheckpoint): void {
    const targets = [...this.#options.routing.targets()];
    const versions = targets.map(({ version }) => version).filter((version) => !this.isHalted(version));
    const rows = versions.map((version) => this.#fresh(version));
    const copies = versions.map((version) => this.#checkpointOf(version));
    this.#options.queue.push({ rows, copies, checkpoint, sizeBytes: 0 });
  }

  /** Another collection has taken this one's place. */
  replaced(collection: string): void {
    for (const { version } of this.#options.routing.targetsOf(collection)) {
      if (!this.isHalted(version)) this.begin(version);
    }
  }

  /** The collection is gone: its versions become live and empty, or keep their rows and are stale. */
  lost(collection: string): void {
    const { routing, queue, logger } = this.#options;
    for (const { version, entityName, onDrop } of routing.targetsOf(collection)) {
      if (this.isHalted(version)) continue;
      if (onDrop === "keep") {
        const context = { entity: entityName, version, collection };
        logger.error({ event: "entity_stale", ...context }, "the collection is gone, the entity keeps its rows");
        const kept = this.#halt(version, "kept");
        if (kept !== null) queue.push({ rows: [], copies: [kept], sizeBytes: 0 });
        continue;
      }
      const start = this.#fresh(version);
      const done: CopyCheckpoint = { ...this.#checkpointOf(version), state: "done" };
      this.#checkpoints.set(version, done);
      queue.push({ rows: [start, syncRow(version, "sync_end")], copies: [done], sizeBytes: 0 });
    }
  }

  /** An event of this document is about to be logged. */
  touch(collection: string, idKey: string): void {
    if (this.#active.size === 0) return;
    for (const { version } of this.#options.routing.targetsOf(collection)) this.#active.get(version)?.run.touch(idKey);
  }

  /** The stream has come further. */
  releasePassed(): void {
    for (const { run } of this.#active.values()) run.releasePassed();
  }

  /** Starts the copies that are due and whose collections the open stream covers. */
  startDue(covered: ReadonlySet<string>, signal: AbortSignal): void {
    for (const target of this.#options.routing.targets()) {
      if (this.#active.size >= this.#options.settings.maxConcurrent) return;
      if (this.#paused?.has(target.entityName) !== false) continue;
      const isDue = this.#checkpoints.get(target.version)?.state === "running" && !this.#active.has(target.version);
      if (isDue && covered.has(target.collection)) this.#start(target, signal);
    }
  }

  /** Ends the running copies; they go on from their checkpoint next time. */
  async end(): Promise<void> {
    const active = [...this.#active.values()];
    for (const { abort } of active) abort.abort();
    await Promise.all(active.map(({ ended }) => ended));
  }

  #start(target: Target, signal: AbortSignal): void {
    const { source, progress, queue, budget, settings, logger, clock, onRetry, tracer } = this.#options;
    const { version } = target;
    const abort = new AbortController();
    const context = { entity: target.entityName, version, copyId: this.#checkpointOf(version).copyId };
    logger.info({ event: "copy_started", ...context }, "copying the collection");
    const run = new CopyRun({
      source,
      target,
      checkpoint: this.#checkpointOf(version),
      progress,
      queue,
      budget,
      pace: this.#pace,
      readFrom: settings.readPreference ?? "primary",
      clock,
      tracer,
      onError: (error, attempt, delayMs) => {
        onRetry(error);
        const fields = { event: "copy_retry", ...context, attempt, delayMs, reason: messageOf(error) };
        logger.warn(fields, "copy interrupted");
      },
    });
    const ended = run
      .run(AbortSignal.any([signal, abort.signal]))
      .then(async () => {
        const { rowCount } = run.checkpoint;
        logger.info({ event: "copy_read", ...context, rows: rowCount }, "collection copied");
        if (rowCount === 0) await this.#tellIfMissing(target, signal);
      })
      .catch((error: unknown) => {
        if (!isAbort(error) && !signal.aborted) this.#options.onFailure(error);
      })
      .finally(() => {
        // A cancelled run has been replaced: what is known of the version is no longer this run's to say.
        if (this.#active.get(version)?.run !== run) return;
        this.#checkpoints.set(version, run.checkpoint);
        this.#active.delete(version);
      });
    this.#active.set(version, { run, abort, ended });
  }

  /** A misspelt collection or database looks like an empty one; the names that there are tell which it is. */
  async #tellIfMissing({ entityName, collection }: Target, signal: AbortSignal): Promise<void> {
    const { source, logger } = this.#options;
    const names = await source.collectionNames(signal);
    if (names.includes(collection)) return;
    const context = { entity: entityName, source: source.sourceName, database: source.databaseName, collection };
    logger.warn(
      { event: "collection_missing", ...context, collections: names.slice(0, 50) },
      `there is no collection ${collection} in the database ${source.databaseName}; the entity stays empty until there is`,
    );
  }

  /** Replaces what is known of the version by a new copy's beginning; returns its first row. */
  #fresh(version: number): LogRow {
    this.#cancel(version);
    const checkpoint: CopyCheckpoint = {
      copyId: randomUUID(),
      version,
      state: "running",
      lastId: null,
      rowCount: 0,
      rowCountEstimate: 0,
    };
    this.#checkpoints.set(version, checkpoint);
    return syncRow(version, "sync_start");
  }

  #checkpointOf(version: number): CopyCheckpoint {
    const checkpoint = this.#checkpoints.get(version);
    if (checkpoint === undefined) throw new RangeError(`version ${version} has no copy`);
    return checkpoint;
  }

  #halt(version: number, state: "stopped" | "kept"): CopyCheckpoint | null {
    const checkpoint = this.states().get(version);
    if (checkpoint === undefined) return null;
    this.#cancel(version);
    const halted: CopyCheckpoint = { ...checkpoint, state };
    this.#checkpoints.set(version, halted);
    return halted;
  }

  #cancel(version: number): void {
    const active = this.#active.get(version);
    if (active === undefined) return;
    this.#active.delete(version);
    active.run.cancel();
    active.abort.abort();
  }
}
