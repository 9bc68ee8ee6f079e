import type pg from "pg";
import type { ComponentHealth } from "../runtime/component-health.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import {
  type PartitionFacts,
  currentPartition,
  dropPartition,
  listPartitions,
  lockLog,
  makePartition,
  partitionFacts,
  rollTo,
} from "./log-partitions.ts";
import { withClient } from "./with-client.ts";

/** Key of the advisory lock: one process at a time does this. Arbitrary, the same in every version. */
const RETENTION_LOCK = "7236820517439482002";

/** Partitions made beyond the current one, so that a roll never waits for one. */
const PARTITIONS_AHEAD = 2;

/** The log is kept in about this many partitions: storage comes free in steps of an eighth. */
const PARTITIONS_KEPT = 8;

/** Where `rowsHardMax` says nothing: days of absence at the usual rate are borne, an endless one isn't. */
const HARD_MAX_FACTOR = 4;

const STATEMENT_TIMEOUT_MS = 60_000;

/** A drop needs the log for itself for an instant; it rather tries again than makes others wait behind it for long. */
const DROP_LOCK_TIMEOUT = "500ms";

export interface RetentionOptions {
  readonly pool: pg.Pool;
  /** How long rows are kept, in seconds. */
  readonly ageS: number;
  /** How many rows are kept. */
  readonly rowsMax: number;
  /** Above this many rows claims and snapshots don't count any more; 0: four times `rowsMax`. Never below `rowsMax`. */
  readonly rowsHardMax: number;
  /** A claim that is older, in seconds, doesn't count. */
  readonly claimTtlS: number;
  readonly logger: Logger;
  readonly health: ComponentHealth;
  /** Default 10,000. */
  readonly intervalMs?: number;
}

/** What one run did. */
export interface RetentionReport {
  /** False where another process was at it. */
  readonly ran: boolean;
  readonly rolled: boolean;
  readonly dropped: readonly number[];
}

/** Who keeps the log: `position` is the last one that they don't need. */
interface Keeper {
  readonly words: string;
  readonly position: number;
}

/**
 * Makes the log's partitions ahead, begins a new one where the current one is an eighth of what is kept, and drops what
 * is older than `ageS` or beyond `rowsMax`, but never what an unexpired claim or a client that starts from the newest
 * snapshot of a live entity still needs; above `rowsHardMax` it does, and says so loudly.
 */
export class Retention implements Service {
  readonly name = "retention";
  readonly #options: RetentionOptions;
  readonly #end = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#running;
    this.#options.health.stopped();
  }

  /** One look at the log. @throws errors of the catalogue. */
  async runOnce(signal: AbortSignal): Promise<RetentionReport> {
    const { pool } = this.#options;
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const plan = await withClient(pool, options, async (client) => {
      if (!(await beginAlone(client, "5s"))) return null;
      const current = await currentPartition(client);
      for (let ahead = 1; ahead <= PARTITIONS_AHEAD; ahead++) await makePartition(client, current + ahead);
      const partitions = await listPartitions(client);
      const rolled = this.#isWorthRolling(partitions.find(({ partition }) => partition === current));
      if (rolled) await rollTo(client, current + 1);
      await removeForgotten(client, this.#options.claimTtlS);
      await client.query("COMMIT");
      return { rolled, old: partitions.filter(({ partition }) => partition < current) };
    });
    if (plan === null) return { ran: false, rolled: false, dropped: [] };
    const dropped: number[] = [];
    for (const { partition } of plan.old) {
      if (!(await this.#dropIfDue(partition, signal))) break;
      dropped.push(partition);
    }
    return { ran: true, rolled: plan.rolled, dropped };
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    const { logger, health, intervalMs = 10_000 } = this.#options;
    while (!signal.aborted) {
      try {
        const { rolled, dropped } = await this.runOnce(signal);
        if (rolled || dropped.length > 0) logger.info({ event: "retention", rolled, dropped }, "the log was trimmed");
        health.healthy();
      } catch (error) {
        if (signal.aborted) return;
        health.degraded(error);
        health.retried(error);
        logger.warn({ event: "retention_failed" }, messageOf(error));
      }
      await sleep(intervalMs, signal).catch(() => undefined);
    }
  }

  #isWorthRolling(current: PartitionFacts | undefined): boolean {
    if (current === undefined || current.oldestAgeS === null) return false;
    const { ageS, rowsMax } = this.#options;
    return current.oldestAgeS >= ageS / PARTITIONS_KEPT || current.rowCount >= rowsMax / PARTITIONS_KEPT;
  }

  /** Drops a partition that no batch goes to any more, if it is due and nobody needs it. */
  async #dropIfDue(partition: number, signal: AbortSignal): Promise<boolean> {
    const { pool, logger } = this.#options;
    return withClient(pool, { signal, timeoutMs: STATEMENT_TIMEOUT_MS }, async (client) => {
      if (!(await beginAlone(client, DROP_LOCK_TIMEOUT))) return false;
      // First without the lock that keeps the others away: mostly nothing is due.
      let verdict = await this.#verdict(client, await partitionFacts(client, partition));
      if (verdict.isDue) {
        await lockLog(client);
        const facts = await partitionFacts(client, partition);
        verdict = await this.#verdict(client, facts);
        if (verdict.isDue) await dropPartition(client, facts);
      }
      await client.query("COMMIT");
      if (verdict.isDue && verdict.overruled.length > 0) {
        logger.error(
          { event: "retention_hard_cap", partition, overruled: verdict.overruled },
          "the log reached its hard limit: rows were dropped that readers still need; they start anew from a snapshot or a copy",
        );
      }
      return verdict.isDue;
    });
  }

  async #verdict(
    client: pg.ClientBase,
    { endPosition, newestAgeS }: PartitionFacts,
  ): Promise<{ isDue: boolean; overruled: string[] }> {
    if (endPosition === null) return { isDue: true, overruled: [] };
    const { ageS, rowsMax, claimTtlS } = this.#options;
    const rowsHardMax = Math.max(rowsMax, this.#options.rowsHardMax || rowsMax * HARD_MAX_FACTOR);
    const { rows } = await client.query<{ position: string }>("SELECT position FROM emcache.head");
    const rowsAbove = Number(rows[0]?.position ?? 0) - endPosition;
    const isDue = (newestAgeS ?? 0) >= ageS || rowsAbove >= rowsMax;
    if (!isDue) return { isDue, overruled: [] };
    const keepers = (await listKeepers(client, claimTtlS)).filter(({ position }) => position < endPosition);
    if (keepers.length === 0) return { isDue, overruled: [] };
    return { isDue: rowsAbove >= rowsHardMax, overruled: keepers.map(({ words }) => words) };
  }
}

/** Begins a transaction; false, and ended, where another process is at it. */
async function beginAlone(client: pg.ClientBase, lockTimeout: string): Promise<boolean> {
  await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '${lockTimeout}'`);
  const { rows } = await client.query<{ locked: boolean }>(
    `SELECT pg_try_advisory_xact_lock(${RETENTION_LOCK}) AS locked`,
  );
  if (rows[0]?.locked === true) return true;
  await client.query("ROLLBACK");
  return false;
}

/** Unexpired claims, and the newest snapshot of each entity that is served. */
async function listKeepers(client: pg.ClientBase, claimTtlS: number): Promise<Keeper[]> {
  const { rows } = await client.query<{ words: string; position: string }>(
    `SELECT kind || ' ' || name AS words, position FROM emcache.claim
       WHERE refreshed_at > now() - make_interval(secs => $1)
     UNION ALL
     SELECT 'snapshot of ' || e.name, max(s.position) FROM emcache.snapshot s
       JOIN emcache.entity_version e ON e.version = s.version AND e.state = 'live' AND e.deleted_position IS NULL
       WHERE NOT s.is_deleted
       GROUP BY e.name`,
    [claimTtlS],
  );
  return rows.map(({ words, position }) => ({ words, position: Number(position) }));
}

/** Claims long expired, and deleted versions of which the log holds nothing any more. */
async function removeForgotten(client: pg.ClientBase, claimTtlS: number): Promise<void> {
  await client.query("DELETE FROM emcache.claim WHERE refreshed_at < now() - make_interval(secs => $1)", [
    claimTtlS * 10,
  ]);
  await client.query("DELETE FROM emcache.entity_version WHERE deleted_position < (SELECT floor FROM emcache.head)");
}
