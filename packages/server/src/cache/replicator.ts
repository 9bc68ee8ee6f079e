import { EmcacheError } from "@emcache/protocol";
import { Worker } from "node:worker_threads";
import type pg from "pg";
import type { ComponentHealth } from "../runtime/component-health.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Service } from "../runtime/service.ts";
import type { Tracer } from "../runtime/tracer.ts";
import { messageOf } from "../runtime/error-message.ts";
import { CacheDirectory, restoringPathOf } from "./cache-directory.ts";
import type { CacheRecord } from "./cache-set.ts";
import type { CacheStatus, ProblemLike } from "./cache-status.ts";
import { type CommittedBatch, pageOfBatch } from "../oplog/committed-batch.ts";
import { PositionWaiters } from "./position-waiters.ts";
import type { ReplicateNews, ReplicateOrder, ReplicateWorkerData } from "./replicate-message.ts";
import type { VersionReject } from "./replicate-port.ts";
import { WakeWord } from "./wake-word.ts";

/** What the replicator works with. */
export interface ReplicatorOptions {
  /** For the worker's own connections, as plain data: `Postgres.connection`. */
  readonly connection: pg.ClientConfig;
  /** Directory of the cache files. */
  readonly baseDir: string;
  /** Fallback poll; a wake-up is the usual way. */
  readonly replicationIntervalS: number;
  /** The log doesn't hold what this version's cache can be built from: make a new copy. May be told more than once. */
  readonly onNeedsCopy: (version: number, reason: string) => void;
  /** Rows that a cache could not take. The same one may be told twice. */
  readonly onRejects: (rejects: readonly VersionReject[]) => void;
  readonly logger: Logger;
  readonly health: ComponentHealth;
  /** Takes the time of pages. */
  readonly tracer?: Tracer | null;
  /** A WAL larger than this, and than twice its file, stops its cache; default 1 GiB. */
  readonly walBytesMax?: number;
  /** Makes the worker thread; default: of replicate-worker beside this file. */
  readonly createWorker?: (data: ReplicateWorkerData) => Worker;
}

/**
 * A batch that is handed over is copied to the other thread, which costs the capture's thread; a large one is better
 * read back, and its latency is not that of the read.
 */
const HANDED_ROWS_MAX = 200;
const HANDED_LENGTH_MAX = 128 * 1024;

/** Pages die young and all at once; as much as Node gives a thread by itself (48) only stands about. */
const YOUNG_GENERATION_MIB_MAX = 16;

/** Beside this file, as source or as built. */
const WORKER_URL = new URL(
  import.meta.url.endsWith(".ts") ? "./replicate-worker.ts" : "./replicate-worker.js",
  import.meta.url,
);

/**
 * Keeps the cache files of this process up to the log. The work is done in a worker thread that owns all SQLite
 * writers and reads the log itself; this is its main-thread side. A worker that ends unasked is started again.
 */
export class Replicator implements Service {
  readonly name = "replicator";
  readonly #options: ReplicatorOptions;
  readonly #wakeWord = new WakeWord();
  readonly #waiters = new PositionWaiters();
  readonly #end = new AbortController();
  #worker: Worker | null = null;
  #running: Promise<void> = Promise.resolve();
  #records: readonly CacheRecord[] | null = null;
  #statuses: ReadonlyMap<number, CacheStatus> = new Map();
  #logProblem: ProblemLike | null = null;
  #onStatuses: (statuses: ReadonlyMap<number, CacheStatus>) => void = () => undefined;

  constructor(options: ReplicatorOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { signal } = this.#end;
    this.#running = retryForever(() => this.#runWorker(), {
      signal,
      delayMsMin: 100,
      delayMsMax: 10_000,
      onError: (error, attempt, delayMs) => {
        this.#options.health.degraded(error, { attempt, delayMs });
        const fields = { event: "replicate_worker_ended", attempt, delayMs };
        this.#options.logger.error(fields, `The replicating thread ended and is started again: ${messageOf(error)}`);
      },
    }).catch((error: unknown) => {
      if (!signal.aborted) this.#options.health.degraded(error);
    });
  }

  /** Positions are written and files closed within what `signal` gives; then the thread is ended. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#end.abort();
    const worker = this.#worker;
    if (worker !== null) {
      this.#post({ kind: "stop" });
      const onAbort = (): void => void worker.terminate();
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      await this.#running;
      signal.removeEventListener("abort", onAbort);
    }
    await this.#running;
    this.#options.health.stopped();
  }

  /** Replaces the list of entity versions that have caches: all that are pending or live. */
  setEntities(records: readonly CacheRecord[]): void {
    this.#records = records;
    this.#waiters.setVersions(records.flatMap(({ entity, state }) => (state === "retired" ? [] : [entity.id])));
    this.#post({ kind: "records", records });
  }

  /** The log may have more, up to `head`: call it after each commit. */
  wake(head: number): void {
    if (this.#worker !== null && this.#wakeWord.wake(head)) this.#post({ kind: "wake" });
  }

  /** A batch that this process has committed: a small one need not be read back from the log. Before its wake-up. */
  hand(batch: CommittedBatch): void {
    if (this.#worker === null || batch.rows.length > HANDED_ROWS_MAX || lengthOf(batch) > HANDED_LENGTH_MAX) return;
    if (this.#wakeWord.offerBatch()) this.#post({ kind: "batch", page: pageOfBatch(batch) });
  }

  /** How each cache is, by version, as the worker last told. */
  statuses(): ReadonlyMap<number, CacheStatus> {
    return this.#statuses;
  }

  /** Calls `listener` whenever the worker tells how the caches are, in place of the one before. */
  onStatuses(listener: (statuses: ReadonlyMap<number, CacheStatus>) => void): void {
    this.#onStatuses = listener;
  }

  /** Where a file is put that is to take the version's cache file's place; null where this process has none. */
  restoringPathOf(version: number): string | null {
    // Not from the statuses: a cache may ask before its first one is told.
    const record = this.#records?.find(({ entity }) => entity.id === version);
    if (record === undefined) return null;
    return restoringPathOf(new CacheDirectory(this.#options.baseDir).pathOf(record.entity));
  }

  /** A file was put there: the cache goes on from it. */
  restored(version: number): void {
    this.#post({ kind: "restored", version });
  }

  /** The version's cache file; null where this process has none. */
  pathOf(version: number): string | null {
    return this.#statuses.get(version)?.path ?? null;
  }

  /** Resolves once every cache of this process, or that of one version, has applied the position. */
  async waitFor(position: number, signal: AbortSignal, version: number | null = null): Promise<void> {
    await this.#waiters.wait(position, version, signal);
  }

  /** One life of the worker. Resolves where it was asked to end, else throws why it ended. */
  async #runWorker(): Promise<void> {
    const { connection, baseDir, replicationIntervalS, walBytesMax, createWorker, tracer = null } = this.#options;
    this.#wakeWord.reset();
    const data: ReplicateWorkerData = {
      connection,
      baseDir,
      intervalMs: replicationIntervalS * 1000,
      walBytesMax: walBytesMax ?? null,
      tellsPages: tracer !== null,
      records: this.#records,
      wakeWord: this.#wakeWord.memory,
    };
    const worker =
      createWorker?.(data) ??
      new Worker(WORKER_URL, {
        workerData: data,
        resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB_MAX },
      });
    this.#worker = worker;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    worker.on("message", (news: ReplicateNews) => this.#take(news));
    worker.on("error", reject);
    worker.on("exit", (code) => {
      if (this.#end.signal.aborted) resolve();
      else reject(new EmcacheError("internal", `The replicating thread ended with code ${code}`));
    });
    try {
      await promise;
    } finally {
      this.#worker = null;
      await worker.terminate();
    }
  }

  #post(order: ReplicateOrder): void {
    this.#worker?.postMessage(order);
  }

  #take(news: ReplicateNews): void {
    switch (news.kind) {
      case "statuses":
        this.#statuses = new Map(news.statuses.map((status) => [status.version, status]));
        this.#waiters.update(this.#statuses);
        this.#onStatuses(this.#statuses);
        this.#tellHealth();
        break;
      case "needs_copy":
        this.#options.onNeedsCopy(news.version, news.reason);
        break;
      case "rejects":
        this.#options.onRejects(news.rejects);
        break;
      case "dealt": {
        const { startMs, endMs, ...attributes } = news.page;
        this.#options.tracer?.span("apply page", { attributes, startMs }).end(undefined, endMs);
        break;
      }
      case "log":
        this.#logProblem = news.problem;
        this.#tellHealth();
        break;
      case "line":
        this.#options.logger[news.level]({ event: news.event, ...news.fields }, news.message);
        break;
    }
  }

  #tellHealth(): void {
    const failed = [...this.#statuses.values()].find((status) => status.lastError !== null);
    const problem = this.#logProblem ?? failed?.lastError ?? null;
    if (problem === null) this.#options.health.healthy();
    else this.#options.health.degraded(new EmcacheError(problem.code, problem.detail, { hint: problem.hint }));
  }
}

function lengthOf({ rows }: CommittedBatch): number {
  return rows.reduce((sum, row) => sum + row.docId.length + (row.data?.length ?? 0), 0);
}
