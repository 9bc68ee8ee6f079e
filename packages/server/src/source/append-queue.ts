import { EmcacheError } from "@emcache/protocol";
import type { Clock } from "../runtime/clock.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Tracer } from "../runtime/tracer.ts";
import type { AppendedBatch, CaptureBatch, CaptureLog, CopyCheckpoint, StreamCheckpoint } from "./capture-log.ts";
import type { LogRow, Reject } from "./log-row.ts";
import { type MadeUnit, StopGate } from "./stop-gate.ts";

/**
 * Documents that wait as they are: their rows take several times the room, and making those of all that waits at once
 * would hold the event loop (measured: 600 MiB and a second for 64 MiB of documents).
 */
export interface DeferredRows {
  /** Rows at most. */
  readonly rowCount: number;
  make(): Pick<MadeUnit, "rows" | "rejects" | "stops">;
}

/** What one step of the capture wants to be made durable together. */
export interface AppendUnit {
  readonly rows: readonly LogRow[];
  readonly rejects?: readonly Reject[];
  /** Versions that one of the rejects stops. */
  readonly stops?: ReadonlySet<number>;
  /** Rows that come after `rows` and are made when the unit's turn has come. */
  readonly deferred?: DeferredRows;
  readonly checkpoint?: StreamCheckpoint;
  readonly copies?: readonly CopyCheckpoint[];
  /** Bytes of the rows, or of the documents that they are made of, about. */
  readonly sizeBytes: number;
  /** When its oldest change happened in the source, in milliseconds since 1970; absent for what is no change. */
  readonly sourceTimeMs?: number;
  /** Gives the unit's share of the memory budget back once it is durable or given up. */
  readonly release?: () => void;
  /** Told once it is durable, and never where it was given up. */
  readonly onLogged?: () => void;
}

export interface AppendQueueOptions {
  readonly log: CaptureLog;
  readonly clock: Clock;
  /** A reject stops the version: gives the state of its copy that is logged with the reject. Default: none. */
  readonly onStop?: (version: number) => CopyCheckpoint | null;
  /** Told of each failure that is retried. */
  readonly onError: (error: unknown, attempt: number, delayMs: number) => void;
  /** Told once an append that had failed has succeeded. */
  readonly onRecovered?: () => void;
  /** Takes the time of appends. */
  readonly tracer?: Tracer | null;
  /** Told of each batch once it is durable, and when its oldest change happened; null where it holds no change. */
  readonly onAppended?: (batch: CaptureBatch, appended: AppendedBatch, sourceTimeMs: number | null) => void;
}

/** An append this large is as fast a row as a larger one (5,000 rows of COPY: dependencies.md), and readers see it sooner. */
const BATCH_ROWS_MAX = 5_000;

/** Rows may be large: a batch is cut by bytes too, so that a reader's page stays small. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024;

const RETRY_DELAY_MS_MIN = 100;
const RETRY_DELAY_MS_MAX = 5_000;

/**
 * The one way into the oplog: units are appended in the order in which they were pushed, as many at once as are
 * waiting. While one append is under way the next batch gathers, so a slow log makes larger batches by itself. Its
 * memory is bounded by the budget that its units hold a share of.
 */
export class AppendQueue {
  readonly #options: AppendQueueOptions;
  readonly #gate = new StopGate();
  #waiting: AppendUnit[] = [];
  #wake: (() => void) | null = null;
  #hasEnded = false;

  constructor(options: AppendQueueOptions) {
    this.#options = options;
  }

  /** Adds a unit; its rows, rejects, checkpoint and copies become durable in one transaction. */
  push(unit: AppendUnit): void {
    // A part that is still winding down: nobody will append it, and the budget outlives this queue.
    if (this.#hasEnded) return unit.release?.();
    this.#waiting.push(unit);
    this.#wake?.();
  }

  /**
   * Appends until `signal` aborts; units that wait then are given up, the checkpoint knows nothing of them.
   *
   * @throws lease_lost, or any error of the log that no retry mends.
   */
  async run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#untilWaiting(signal);
        const units = this.#take();
        const batch = this.#join(units);
        let hasFailed = false;
        const span = this.#options.tracer?.span("append", {
          attributes: { source: this.#options.log.sourceName, rows: batch.rows.length, units: units.length },
        });
        const appended = await retryForever((attempt) => this.#options.log.append(batch, attempt), {
          signal,
          clock: this.#options.clock,
          onError: (error, attempt, delayMs) => {
            hasFailed = true;
            this.#options.onError(error, attempt, delayMs);
          },
          delayMsMin: RETRY_DELAY_MS_MIN,
          delayMsMax: RETRY_DELAY_MS_MAX,
          isRetryable: (error) => error instanceof EmcacheError && error.retryable && error.code !== "lease_lost",
        });
        span?.set({ first_position: appended.firstPosition, retried: hasFailed });
        span?.end();
        if (hasFailed) this.#options.onRecovered?.();
        this.#options.onAppended?.(batch, appended, oldestOf(units));
        for (const unit of units) {
          unit.release?.();
          unit.onLogged?.();
        }
      }
    } finally {
      this.#hasEnded = true;
      for (const unit of this.#waiting) unit.release?.();
      this.#waiting = [];
    }
  }

  async #untilWaiting(signal: AbortSignal): Promise<void> {
    while (this.#waiting.length === 0) {
      signal.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = (): void => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#wake = resolve;
      await promise.finally(() => {
        this.#wake = null;
        signal.removeEventListener("abort", onAbort);
      });
    }
  }

  #take(): AppendUnit[] {
    let rowCount = 0;
    let sizeBytes = 0;
    let unitCount = 0;
    for (const unit of this.#waiting) {
      const unitRowCount = unit.rows.length + (unit.deferred?.rowCount ?? 0);
      const isFull = rowCount + unitRowCount > BATCH_ROWS_MAX || sizeBytes + unit.sizeBytes > BATCH_BYTES_MAX;
      if (unitCount > 0 && isFull) break;
      unitCount++;
      rowCount += unitRowCount;
      sizeBytes += unit.sizeBytes;
    }
    return this.#waiting.splice(0, unitCount);
  }

  /** One batch of several units: of each copy and of the stream the latest checkpoint counts. */
  #join(units: readonly AppendUnit[]): CaptureBatch {
    const copies = new Map<number, CopyCheckpoint>();
    let checkpoint: StreamCheckpoint | null = null;
    const rows: LogRow[][] = [];
    const rejects: Reject[] = [];
    for (const [index, unit] of units.entries()) {
      if (unit.checkpoint !== undefined) checkpoint = unit.checkpoint;
      const onStop = (version: number): CopyCheckpoint | null =>
        beginsCopy([...units.slice(index + 1), ...this.#waiting], version)
          ? null
          : (this.#options.onStop?.(version) ?? null);
      const passed = this.#gate.pass(madeOf(unit), onStop);
      for (const copy of passed.copies) copies.set(copy.version, copy);
      rows.push([...passed.rows]);
      rejects.push(...passed.rejects);
    }
    return { rows: rows.flat(), rejects, checkpoint, copies: [...copies.values()] };
  }
}

function madeOf(unit: AppendUnit): MadeUnit {
  const made = unit.deferred?.make();
  return {
    rows: made === undefined ? unit.rows : [...unit.rows, ...made.rows],
    rejects: [...(unit.rejects ?? []), ...(made?.rejects ?? [])],
    stops: new Set([...(unit.stops ?? []), ...(made?.stops ?? [])]),
    copies: unit.copies ?? [],
  };
}

function oldestOf(units: readonly AppendUnit[]): number | null {
  // The queue keeps the stream's order, so the first is the oldest.
  return units.find(({ sourceTimeMs }) => sourceTimeMs !== undefined)?.sourceTimeMs ?? null;
}

/** Whether a new copy of the version is on its way already: then the stop is history. */
function beginsCopy(units: readonly AppendUnit[], version: number): boolean {
  return units.some(({ rows }) => rows.some((row) => row.operation === "sync_start" && row.version === version));
}
