import type { CommittedBatch } from "./committed-batch.ts";
import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { CaptureLog } from "../source/capture-log.ts";
import { OwnConnection } from "./own-connection.ts";
import { PostgresCaptureLog } from "./postgres-capture-log.ts";
import { takeLease } from "./take-lease.ts";
import { withClient } from "./with-client.ts";

/** A lease that nobody renewed for this long is taken over. */
const TAKEOVER_MS = 3_000;

const STATEMENT_TIMEOUT_MS = 10_000;

export interface SourceLeaseOptions {
  /** The pool, and connections beside it: renewals must not wait behind other work. `Postgres` is one. */
  readonly postgres: {
    readonly pool: pg.Pool;
    readonly applicationName: string;
    newClient(): pg.Client;
  };
  readonly sourceName: string;
  readonly logger: Logger;
  /** Told of each append's last position. `CommitSignal.committed` is meant. */
  readonly onCommit: (head: number, committed: CommittedBatch | null) => void;
  /** Told when an append made another version of an entity live. `CommitSignal.registryChanged` is meant. */
  readonly onRegistryChange: () => void;
  /** How long without a sign of life until a standby takes over. Default 3,000. */
  readonly takeoverMs?: number;
  readonly clock?: Clock;
}

/**
 * The right to capture one source, held by one process at a time.
 *
 * The holder raises `beat` in the lease's row; a standby that sees (epoch, beat) unchanged for `takeoverMs` of its own
 * monotonic clock raises `epoch`, and from that commit on every append of the old epoch is refused by the log itself.
 * No two machines' clocks are compared, and a holder needs no clock to be fenced: it may be frozen at any step.
 */
export class SourceLease {
  readonly epoch: number;
  readonly #options: SourceLeaseOptions;
  readonly #connection: OwnConnection;
  readonly #lost = new AbortController();
  readonly #end = new AbortController();
  readonly #renewing: Promise<void>;

  private constructor(options: SourceLeaseOptions, epoch: number) {
    this.#options = options;
    this.epoch = epoch;
    this.#connection = new OwnConnection(() => options.postgres.newClient());
    this.#renewing = this.#renewUntilEnd();
  }

  /**
   * Waits until the lease is ours: at once where it is free or released, else until its holder shows no sign of life.
   * A PostgreSQL that is absent only prolongs the wait, and a holder is given its whole time anew after that.
   *
   * @throws the signal's reason.
   */
  static async acquire(options: SourceLeaseOptions, signal: AbortSignal): Promise<SourceLease> {
    const clock = options.clock ?? systemClock;
    const takeoverMs = options.takeoverMs ?? TAKEOVER_MS;
    const pollMs = Math.min(200, takeoverMs / 10);
    let seen: LeaseRow | null = null;
    let seenSinceMs = 0;
    for (;;) {
      try {
        const row = await readLease(options, signal);
        const isSame = seen !== null && seen.epoch === row.epoch && seen.beat === row.beat;
        if (!isSame) {
          seen = row;
          seenSinceMs = clock.monotonicMs();
        }
        if (row.released || (isSame && clock.monotonicMs() - seenSinceMs >= takeoverMs)) {
          const epoch = await takeLease(options.postgres, { source: options.sourceName, ...row }, signal);
          if (epoch !== null) {
            const event = row.released ? "lease_acquired" : "lease_taken_over";
            options.logger.info(
              { event, source: options.sourceName, epoch, from: row.holder },
              "this process captures the source",
            );
            return new SourceLease(options, epoch);
          }
          seen = null;
        }
      } catch (error) {
        signal.throwIfAborted();
        if (seen !== null) {
          options.logger.warn({ event: "lease_wait", source: options.sourceName }, messageOf(error));
        }
        // While nobody can reach PostgreSQL the holder can't renew either: that is no sign of its death.
        seen = null;
      }
      await clock.sleep(pollMs, signal);
    }
  }

  /** Aborts, with `lease_lost`, once this process knows that it is not the holder any more. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The log for this lease's epoch; every call gives one of its own, to be loaded before it appends. */
  log(): CaptureLog {
    return new PostgresCaptureLog({
      pool: this.#options.postgres.pool,
      sourceName: this.#options.sourceName,
      epoch: this.epoch,
      onCommit: this.#options.onCommit,
      onRegistryChange: this.#options.onRegistryChange,
      onLeaseLost: () => {
        this.#lose();
      },
    });
  }

  /** Gives the lease back, so that a standby has it at once. To be called when the appends have ended. Never throws. */
  async release(): Promise<void> {
    this.#end.abort();
    await this.#renewing;
    try {
      await this.#connection.query(
        "UPDATE emcache.source_lease SET released = true WHERE source = $1 AND epoch = $2",
        [this.#options.sourceName, this.epoch],
        STATEMENT_TIMEOUT_MS,
      );
    } catch (error) {
      // Then a standby waits its time.
      this.#options.logger.warn({ event: "lease_not_released", source: this.#options.sourceName }, messageOf(error));
    }
    await this.#connection.close();
  }

  async #renewUntilEnd(): Promise<void> {
    const clock = this.#options.clock ?? systemClock;
    const intervalMs = (this.#options.takeoverMs ?? TAKEOVER_MS) / 5;
    const { signal } = this.#end;
    while (!signal.aborted && !this.#lost.signal.aborted) {
      await clock.sleep(intervalMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        const { rowCount } = await this.#connection.query(
          "UPDATE emcache.source_lease SET beat = beat + 1 WHERE source = $1 AND epoch = $2 AND NOT released",
          [this.#options.sourceName, this.epoch],
          Math.max(1_000, intervalMs * 3),
        );
        if (rowCount === 0) this.#lose();
      } catch (error) {
        this.#options.logger.warn({ event: "lease_not_renewed", source: this.#options.sourceName }, messageOf(error));
      }
    }
  }

  #lose(): void {
    if (this.#lost.signal.aborted) return;
    const { sourceName, logger } = this.#options;
    logger.warn(
      { event: "lease_lost", source: sourceName, epoch: this.epoch },
      "another process captures the source now",
    );
    this.#lost.abort(new EmcacheError("lease_lost", `another process captures source "${sourceName}" now`));
  }
}

interface LeaseRow {
  readonly epoch: string;
  readonly beat: string;
  readonly holder: string;
  readonly released: boolean;
}

/** The lease's row; made, with the source's checkpoint, where this is the first process that wants it. */
async function readLease({ postgres, sourceName }: SourceLeaseOptions, signal: AbortSignal): Promise<LeaseRow> {
  return withClient(postgres.pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
    for (;;) {
      const { rows } = await client.query<LeaseRow>(
        "SELECT epoch, beat, holder, released FROM emcache.source_lease WHERE source = $1",
        [sourceName],
      );
      if (rows[0] !== undefined) return rows[0];
      await client.query("INSERT INTO emcache.source_checkpoint (source) VALUES ($1) ON CONFLICT DO NOTHING", [
        sourceName,
      ]);
      await client.query("INSERT INTO emcache.source_lease (source) VALUES ($1) ON CONFLICT DO NOTHING", [sourceName]);
    }
  });
}
