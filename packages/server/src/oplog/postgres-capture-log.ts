import { randomBytes } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type {
  AppendedBatch,
  CaptureBatch,
  CaptureLog,
  CaptureStart,
  CopyCheckpoint,
  StreamCheckpoint,
} from "../source/capture-log.ts";
import type { CommittedBatch } from "./committed-batch.ts";
import { COPY_ROWS, copyChunks, insertStatement, sealStatement, unsignedTime } from "./append-message.ts";
import { isServerAnswer, sqlStateOf, toEmcacheError } from "./postgres-error.ts";
import { fromStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

/** Up to here one message with the rows as literals beats the three round trips of a COPY; above it parsing costs more. */
const LITERAL_ROWS_MAX = 50;
const LITERAL_LENGTH_MAX = 64 * 1024;

/** Longest silence of the server in an append; then its connection is cut and the outcome looked up. */
const APPEND_TIMEOUT_MS = 60_000;

/** How often an append whose connection broke is sent again before the caller hears of it. */
const ATTEMPTS_MAX = 3;

/**
 * READ COMMITTED whatever the server's default: the seal must see what those before it in the lock's queue did.
 * A lock is held for microseconds; a wait of seconds means a stuck server, and is better tried again.
 */
const BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '20s'";

/** A process that is frozen in mid-append holds no shared row; still its transaction ends, and with it its snapshot. */
const COPY_BEGIN = `${BEGIN}; SET LOCAL idle_in_transaction_session_timeout = '15s'; SELECT nextval('emcache.batch_id') AS id`;

export interface PostgresCaptureLogOptions {
  readonly pool: pg.Pool;
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
interface Sealed {
  readonly firstPosition: number;
  /** Null where the append turned out to have been committed before. */
  readonly place: { readonly previousTag: string; readonly logId: string } | null;
}

/** An append that was sent. */
interface OpenAppend {
  readonly batch: CaptureBatch;
  readonly tag: string;
  /** Whether it may have been committed: a connection broke, as opposed to a refusal. */
  isUnknown: boolean;
}

/**
 * The oplog as the holder of a source's lease sees it.
 *
 * How an append happens exactly once: each has a number, one above the source's last one, and a random tag; both are
 * compared and stored by the transaction itself. An append that is sent again because nobody knows whether it was
 * committed either finds its own tag (then it was), or goes in and makes the number taken (then a first message that
 * arrives late is refused). So nothing depends on how long a message can be on its way.
 */
export class PostgresCaptureLog implements CaptureLog {
  readonly sourceName: string;
  readonly epoch: number;
  readonly #options: PostgresCaptureLogOptions;
  /** Number of the last append that is known to be in the log; null before `load`. */
  #number: number | null = null;
  #open: OpenAppend | null = null;
  #busy = false;

  constructor(options: PostgresCaptureLogOptions) {
    this.#options = options;
    this.sourceName = options.sourceName;
    this.epoch = options.epoch;
  }

  async load(signal: AbortSignal): Promise<CaptureStart> {
    return withClient(this.#options.pool, { signal, timeoutMs: APPEND_TIMEOUT_MS }, async (client) => {
      // One more: an append of before that is still on its way comes too late now.
      await client.query(BEGIN);
      const lease = await client.query(
        "SELECT 1 FROM emcache.source_lease WHERE source = $1 AND epoch = $2 AND NOT released FOR SHARE",
        [this.sourceName, this.epoch],
      );
      if (lease.rowCount === 0) throw this.#leaseLost(null);
      const { rows } = await client.query<CheckpointRow>(
        `UPDATE emcache.source_checkpoint SET append_number = append_number + 1, append_tag = '' WHERE source = $1
         RETURNING append_number, resume_token, cluster_time, lookup_horizon`,
        [this.sourceName],
      );
      const copies = await client.query<CopyRow>(
        `SELECT c.version, c.copy_id, c.state, c.last_id, c.row_count, c.row_count_estimate FROM emcache.copy c
         WHERE c.source = $1 AND NOT EXISTS (
           SELECT 1 FROM emcache.entity_version e WHERE e.version = c.version AND e.deleted_position IS NOT NULL)
         ORDER BY c.version`,
        [this.sourceName],
      );
      await client.query("COMMIT");
      const row = rows[0];
      if (row === undefined) throw new EmcacheError("internal", `source "${this.sourceName}" has no checkpoint row`);
      this.#number = Number(row.append_number);
      this.#open = null;
      return { checkpoint: checkpointOf(row), copies: copies.rows.map(copyOf) };
    });
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
        const committed = place === null ? null : { ...place, firstPosition, tag: open.tag, rows: batch.rows };
        this.#options.onCommit(firstPosition + batch.rows.length - 1, committed);
      }
      if (batch.rows.some((row) => row.operation === "sync_end")) this.#options.onRegistryChange();
      return { firstPosition, rowCount: batch.rows.length };
    } finally {
      if (this.#open?.isUnknown === false) this.#open = null;
      this.#busy = false;
    }
  }

  /** Sends the append until its outcome is known, a few times. */
  async #appendKnown(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(open, number, signal);
      } catch (error) {
        signal.throwIfAborted();
        const retryable = error instanceof EmcacheError && error.code === "postgres_unavailable";
        if (!retryable || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  }

  async #send(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed> {
    const { batch, tag } = open;
    const identity = { source: this.sourceName, epoch: this.epoch, number, tag };
    const options = { signal, timeoutMs: APPEND_TIMEOUT_MS };
    try {
      return await withClient(
        this.#options.pool,
        options,
        async (client) => {
          if (isSmall(batch)) {
            const insert = batch.rows.length > 0 ? `${insertStatement(batch.rows)}; ` : "";
            return sealedOf(
              await sendInTransaction(client, `${BEGIN}; ${insert}${sealStatement(null, identity, batch)}; COMMIT`),
            );
          }
          const begun = resultsOf(await client.query(COPY_BEGIN)).at(-1)?.rows[0] as { id: string } | undefined;
          if (begun === undefined) throw new EmcacheError("internal", "the sequence of batches gave nothing");
          // Chunks are made as the socket takes them: Readable's own default would hold sixteen.
          const chunks = Readable.from(copyChunks(begun.id, batch.rows), { highWaterMark: 1 });
          await pipeline(chunks, client.query(copyFrom(COPY_ROWS)));
          return sealedOf(await sendInTransaction(client, `${sealStatement(begun.id, identity, batch)}; COMMIT`));
        },
        (error) => error as Error,
      );
    } catch (error) {
      const state = sqlStateOf(error);
      if (!isServerAnswer(error)) open.isUnknown = true;
      if (state === "EM001") throw this.#leaseLost(error);
      // Sent before, and committed then.
      if (state === "EM002") {
        return { firstPosition: Number((error as pg.DatabaseError).detail), place: null };
      }
      // Retention dropped the partition between the taking of the batch's id and the rows: a new id is taken.
      if (state === "23514")
        throw new EmcacheError("postgres_unavailable", "the batch's partition is gone", { cause: error });
      throw toEmcacheError(error);
    }
  }

  #leaseLost(cause: unknown): EmcacheError {
    this.#options.onLeaseLost();
    return new EmcacheError("lease_lost", `another process captures source "${this.sourceName}" now`, { cause });
  }
}

interface CheckpointRow {
  append_number: string;
  resume_token: Buffer | null;
  cluster_time: string | null;
  lookup_horizon: string | null;
}

interface CopyRow {
  version: number;
  copy_id: string;
  state: CopyCheckpoint["state"];
  last_id: Buffer | null;
  row_count: string;
  row_count_estimate: string;
}

function checkpointOf(row: CheckpointRow): StreamCheckpoint | null {
  if (row.resume_token === null && row.cluster_time === null && row.lookup_horizon === null) return null;
  return {
    resumeToken: row.resume_token,
    clusterTime: unsignedTime(row.cluster_time),
    lookupHorizon: unsignedTime(row.lookup_horizon),
  };
}

function copyOf(row: CopyRow): CopyCheckpoint {
  return {
    copyId: fromStoredText(row.copy_id),
    version: row.version,
    state: row.state,
    lastId: row.last_id,
    rowCount: Number(row.row_count),
    rowCountEstimate: Number(row.row_count_estimate),
  };
}

function isSmall({ rows }: CaptureBatch): boolean {
  if (rows.length > LITERAL_ROWS_MAX) return false;
  let length = 0;
  for (const row of rows) length += row.docId.length + (row.data?.length ?? 0);
  return length <= LITERAL_LENGTH_MAX;
}

/** A message of several statements; after a refusal of the server the connection is clean again. */
async function sendInTransaction(client: pg.PoolClient, text: string): Promise<pg.QueryResult[]> {
  try {
    return resultsOf(await client.query(text));
  } catch (error) {
    if (isServerAnswer(error)) await client.query("ROLLBACK");
    throw error;
  }
}

/** The client types a message of several statements as one result; it gives a list. */
function resultsOf(result: unknown): pg.QueryResult[] {
  return Array.isArray(result) ? (result as pg.QueryResult[]) : [result as pg.QueryResult];
}

function sealedOf(results: readonly pg.QueryResult[]): Sealed {
  for (const { rows } of results) {
    const row = rows[0] as { first_position?: string; previous_tag: string | null; log_id: string | null } | undefined;
    if (row?.first_position === undefined) continue;
    const { previous_tag: previousTag, log_id: logId } = row;
    const place = previousTag === null || logId === null ? null : { previousTag, logId };
    return { firstPosition: Number(row.first_position), place };
  }
  throw new EmcacheError("internal", "the log did not tell the batch's position");
}
