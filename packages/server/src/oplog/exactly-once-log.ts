import { randomBytes } from "node:crypto";
import { EmcacheError } from "@emcache/protocol";
import type { AppendedBatch, CaptureBatch, CaptureLog, CaptureStart } from "../source/capture-log.ts";
import type { CommittedBatch } from "./committed-batch.ts";

/** How often an append whose connection broke is sent again before the caller hears of it. */
const ATTEMPTS_MAX = 3;

export interface ExactlyOnceLogOptions {
  readonly sourceName: string;
  readonly epoch: number;
  /** Told of each append's last position, after its commit; and what it was, unless that was only found out later. */
  readonly onCommit: (head: number, committed: CommittedBatch | null) => void;
  /** Told when an append changed which version of an entity is live. */
  readonly onRegistryChange: () => void;
  /** Told when the log refused because another process has the lease. */
  readonly onLeaseLost: () => void;
}

/** What the log said to an append. */
export interface Sealed {
  readonly firstPosition: number;
  /** Null where the append turned out to have been committed before. */
  readonly place: {
    readonly previousTag: string;
    readonly logId: string;
    /** When it was committed: RFC 3339, UTC with `Z`. */
    readonly createdAt?: string;
  } | null;
}

/** An append that was sent. */
export interface OpenAppend {
  readonly batch: CaptureBatch;
  readonly tag: string;
  /** Whether it may have been committed: a connection broke, as opposed to a refusal. */
  isUnknown: boolean;
}

/**
 * The oplog as the holder of a source's lease sees it, wherever it is stored.
 *
 * How an append happens exactly once: each has a number, one above the source's last one, and a random tag; both are
 * compared and stored by the transaction itself. An append that is sent again because nobody knows whether it was
 * committed either finds its own tag (then it was), or goes in and makes the number taken (then a first message that
 * arrives late is refused). So nothing depends on how long a message can be on its way.
 */
export abstract class ExactlyOnceLog implements CaptureLog {
  readonly sourceName: string;
  readonly epoch: number;
  readonly #told: ExactlyOnceLogOptions;
  /** Number of the last append that is known to be in the log; null before `load`. */
  #number: number | null = null;
  #open: OpenAppend | null = null;
  #busy = false;

  constructor(options: ExactlyOnceLogOptions) {
    this.#told = options;
    this.sourceName = options.sourceName;
    this.epoch = options.epoch;
  }

  async load(signal: AbortSignal): Promise<CaptureStart> {
    const { number, start } = await this.begin(signal);
    this.#number = number;
    this.#open = null;
    return start;
  }

  async append(batch: CaptureBatch, signal: AbortSignal): Promise<AppendedBatch> {
    if (this.#busy || this.#number === null) {
      throw new EmcacheError("internal", this.#busy ? "appends come one at a time" : "load comes before append");
    }
    if (this.#open !== null && this.#open.batch !== batch) {
      throw new EmcacheError(
        "internal",
        "an append whose outcome is unknown is repeated, or the log loaded, before the next",
      );
    }
    this.#busy = true;
    try {
      const open = (this.#open ??= { batch, tag: randomBytes(8).toString("hex"), isUnknown: false });
      const { firstPosition, place } = await this.#appendKnown(open, this.#number + 1, signal);
      this.#number += 1;
      this.#open = null;
      if (batch.rows.length > 0) {
        const committed =
          place === null ? null : { createdAt: null, ...place, firstPosition, tag: open.tag, rows: batch.rows };
        this.#told.onCommit(firstPosition + batch.rows.length - 1, committed);
      }
      if (batch.rows.some((row) => row.operation === "sync_end")) this.#told.onRegistryChange();
      return { firstPosition, rowCount: batch.rows.length };
    } finally {
      if (this.#open?.isUnknown === false) this.#open = null;
      this.#busy = false;
    }
  }

  /**
   * Makes the source's append number one more, so that an append of before that is still on its way comes too late,
   * and reads what the source left. Throws `leaseLost` where the epoch is not the lease's.
   */
  protected abstract begin(signal: AbortSignal): Promise<{ readonly number: number; readonly start: CaptureStart }>;

  /**
   * Sends an append. Marks it as unknown where it fails with anything but the log's own answer, `postgres_unavailable`
   * where it may be sent again.
   */
  protected abstract send(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed>;

  /** The error of whoever has not the lease, which the lease hears of too. */
  protected leaseLost(cause: unknown): EmcacheError {
    this.#told.onLeaseLost();
    return new EmcacheError("lease_lost", `another process captures source "${this.sourceName}" now`, { cause });
  }

  /** Sends the append until its outcome is known, a few times. */
  async #appendKnown(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.send(open, number, signal);
      } catch (error) {
        signal.throwIfAborted();
        const retryable = error instanceof EmcacheError && error.code === "postgres_unavailable";
        if (!retryable || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }
}
