import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type { CaptureBatch, CaptureStart, CopyCheckpoint, StreamCheckpoint } from "../source/capture-log.ts";
import { ExactlyOnceLog, type ExactlyOnceLogOptions, type OpenAppend, type Sealed } from "./exactly-once-log.ts";
import { COPY_ROWS, copyChunks, insertStatement, sealStatement, unsignedTime } from "./append-message.ts";
import { isServerAnswer, sqlStateOf, toEmcacheError } from "./postgres-error.ts";
import { fromStoredText } from "./stored-text.ts";
import { withClient } from "./with-client.ts";

/** Up to here one message with the rows as literals beats the three round trips of a COPY; above it parsing costs more. */
const LITERAL_ROWS_MAX = 50;
const LITERAL_LENGTH_MAX = 64 * 1024;

/** Longest silence of the server in an append; then its connection is cut and the outcome looked up. */
const APPEND_TIMEOUT_MS = 60_000;

/**
 * READ COMMITTED whatever the server's default: the seal must see what those before it in the lock's queue did.
 * A lock is held for microseconds; a wait of seconds means a stuck server, and is better tried again.
 */
const BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '20s'";

/** A process that is frozen in mid-append holds no shared row; still its transaction ends, and with it its snapshot. */
const COPY_BEGIN = `${BEGIN}; SET LOCAL idle_in_transaction_session_timeout = '15s'; SELECT nextval('emcache.batch_id') AS id`;

export interface PostgresCaptureLogOptions extends ExactlyOnceLogOptions {
  readonly pool: pg.Pool;
}

/** The oplog in PostgreSQL as the holder of a source's lease sees it. */
export class PostgresCaptureLog extends ExactlyOnceLog {
  readonly #pool: pg.Pool;

  constructor(options: PostgresCaptureLogOptions) {
    super(options);
    this.#pool = options.pool;
  }

  protected async begin(signal: AbortSignal): Promise<{ number: number; start: CaptureStart }> {
    return withClient(this.#pool, { signal, timeoutMs: APPEND_TIMEOUT_MS }, async (client) => {
      // One more: an append of before that is still on its way comes too late now.
      await client.query(BEGIN);
      const lease = await client.query(
        "SELECT 1 FROM emcache.source_lease WHERE source = $1 AND epoch = $2 AND NOT released FOR SHARE",
        [this.sourceName, this.epoch],
      );
      if (lease.rowCount === 0) throw this.leaseLost(null);
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
      return {
        number: Number(row.append_number),
        start: { checkpoint: checkpointOf(row), copies: copies.rows.map(copyOf) },
      };
    });
  }

  protected async send(open: OpenAppend, number: number, signal: AbortSignal): Promise<Sealed> {
    const { batch, tag } = open;
    const identity = { source: this.sourceName, epoch: this.epoch, number, tag };
    const options = { signal, timeoutMs: APPEND_TIMEOUT_MS };
    try {
      return await withClient(
        this.#pool,
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
      if (state === "EM001") throw this.leaseLost(error);
      // Sent before, and committed then.
      if (state === "EM002") {
        return { firstPosition: Number((error as pg.DatabaseError).detail), place: null };
      }
      // No append of ours comes between: the log is an older one than before. What it has is to be loaded again.
      if (state === "EM003") {
        const words = `the log was set back: it is not where source "${this.sourceName}" has appended to`;
        throw new EmcacheError("history_mismatch", words, { cause: error });
      }
      // Retention dropped the partition between the taking of the batch's id and the rows: a new id is taken.
      if (state === "23514")
        throw new EmcacheError("postgres_unavailable", "the batch's partition is gone", { cause: error });
      throw toEmcacheError(error);
    }
  }
}

interface CheckpointRow {
  append_number: string;
  resume_token: Buffer | null;
  cluster_time: string | null;
  lookup_horizon: string | null;
}

/** What `emcache.seal` tells; null where the batch has no rows. */
interface SealedRow {
  first_position?: string;
  previous_tag: string | null;
  log_id: string | null;
  created_at: string | null;
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
    const row = rows[0] as SealedRow | undefined;
    if (row?.first_position === undefined) continue;
    const { previous_tag: previousTag, log_id: logId, created_at: createdAt } = row;
    const place =
      previousTag === null || logId === null || createdAt === null ? null : { previousTag, logId, createdAt };
    return { firstPosition: Number(row.first_position), place };
  }
  throw new EmcacheError("internal", "the log did not tell the batch's position");
}
