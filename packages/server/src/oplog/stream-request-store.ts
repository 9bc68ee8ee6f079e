import { randomUUID } from "node:crypto";
import { EmcacheError } from "@emcache/protocol";
import type pg from "pg";
import { sleep } from "../runtime/sleep.ts";
import type { StreamRequest, StreamRequestList } from "../source/stream-requests.ts";
import { unsignedTime } from "./append-message.ts";
import { withClient } from "./with-client.ts";

const STATEMENT_TIMEOUT_MS = 20_000;

/** How often the asker looks for the answer: it comes within some 100 ms where the capture has nothing else to do. */
const ANSWER_POLL_MS = 50;

/** A capture that is further behind than this has other worries than a verification. */
const ANSWER_TIMEOUT_MS = 120_000;

/** What an asker that died has left behind. */
const LEFT_BEHIND = "1 hour";

/** What is asked for: `StreamRequest` without its id, and of which source. */
export interface StreamQuestion extends Omit<StreamRequest, "id"> {
  readonly source: string;
}

/**
 * How a verification reaches the process that captures its source, whichever that is: by a row that the capturing
 * process marks as done once what it asks for is in the log.
 */
export class StreamRequestStore implements StreamRequestList {
  readonly #pool: pg.Pool;
  readonly #listeners = new Set<() => void>();

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  onAsked(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async list(sourceName: string, signal: AbortSignal): Promise<StreamRequest[]> {
    const rows = await this.#query<{ id: string; cluster_time: string; collection: string; document_keys: Buffer[] }>(
      `SELECT id, cluster_time, collection, document_keys FROM emcache.stream_request
       WHERE source = $1 AND NOT is_done ORDER BY asked_at`,
      [sourceName],
      signal,
    );
    return rows.map(({ id, cluster_time: time, collection, document_keys: documentKeys }) => ({
      id,
      time: unsignedTime(time) ?? 0n,
      collection,
      documentKeys,
    }));
  }

  async answer(id: string, signal: AbortSignal): Promise<void> {
    await this.#query("UPDATE emcache.stream_request SET is_done = true WHERE id = $1", [id], signal);
  }

  /**
   * Resolves once the stream has passed the time, and what was to be logged is in the log.
   *
   * @throws verification_not_ready where the capture does not get there, postgres_unavailable
   */
  async ask({ source, time, collection, documentKeys }: StreamQuestion, signal: AbortSignal): Promise<void> {
    const id = randomUUID();
    const deadline = performance.now() + ANSWER_TIMEOUT_MS;
    await this.#query(
      `WITH left_behind AS (DELETE FROM emcache.stream_request WHERE asked_at < now() - interval '${LEFT_BEHIND}')
       INSERT INTO emcache.stream_request (id, source, cluster_time, collection, document_keys)
       VALUES ($1, $2, $3, $4, $5)`,
      [id, source, BigInt.asIntN(64, time).toString(), collection, documentKeys],
      signal,
    );
    try {
      for (const listener of this.#listeners) listener();
      while (!(await this.#isDone(id, signal))) {
        if (performance.now() > deadline) throw notPassed(source);
        await sleep(ANSWER_POLL_MS, signal);
      }
    } finally {
      // Also where `signal` has aborted: nobody waits for the answer any more.
      const cleanUp = AbortSignal.timeout(STATEMENT_TIMEOUT_MS);
      await this.#query("DELETE FROM emcache.stream_request WHERE id = $1", [id], cleanUp).catch(() => "left behind");
    }
  }

  async #isDone(id: string, signal: AbortSignal): Promise<boolean> {
    const [row] = await this.#query<{ is_done: boolean }>(
      "SELECT is_done FROM emcache.stream_request WHERE id = $1",
      [id],
      signal,
    );
    return row?.is_done === true;
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[], signal: AbortSignal): Promise<Row[]> {
    const options = { signal, timeoutMs: STATEMENT_TIMEOUT_MS };
    const { rows } = await withClient(this.#pool, options, (client) => client.query<Row>(text, values));
    return rows;
  }
}

function notPassed(source: string): EmcacheError {
  return new EmcacheError(
    "verification_not_ready",
    `The capture of source ${source} did not get as far as the source within ${ANSWER_TIMEOUT_MS / 1000} s`,
    { hint: "GET /health says whether a process captures the source, and what holds it up." },
  );
}
