import { EmcacheError } from "@emcache/protocol";
import type { ByteBudget } from "../runtime/byte-budget.ts";
import type { Clock } from "../runtime/clock.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Span, Tracer } from "../runtime/tracer.ts";
import type { AppendQueue } from "./append-queue.ts";
import type { CopyCheckpoint } from "./capture-log.ts";
import type { CopyPace } from "./copy-pace.ts";
import { CopyReader } from "./copy-reader.ts";
import type { CursorReply } from "./cursor-reply.ts";
import type { Target } from "./entity-routing.ts";
import { findElement, idKeyOf, singleElementDocument } from "./raw-document.ts";
import { RowBuilder, syncRow } from "./row-builder.ts";
import type { ReadFrom, SourceConnection } from "./source-connection.ts";
import type { Horizon, StreamProgress } from "./stream-progress.ts";

/** Ids that the stream touched; when they are more, the cursor is re-opened and they are forgotten. */
const TOUCHED_BYTES_MAX = 16 * 1024 * 1024;

/** What a set's entry costs beside its key. */
const TOUCHED_OVERHEAD_BYTES = 64;

const RETRY_DELAY_MS_MIN = 200;
const RETRY_DELAY_MS_MAX = 10_000;

export interface CopyRunOptions {
  readonly source: SourceConnection;
  readonly target: Target;
  readonly checkpoint: CopyCheckpoint;
  readonly progress: StreamProgress;
  readonly queue: AppendQueue;
  readonly budget: ByteBudget;
  readonly pace: CopyPace;
  readonly readFrom: ReadFrom;
  readonly clock: Clock;
  readonly onError: (error: unknown, attempt: number, delayMs: number) => void;
  /** Takes the time of chunks: from the question to the source until the stream has passed what it answered. */
  readonly tracer: Tracer | null;
}

/** One reply of the copy's cursor that waits until the stream has passed it. */
interface Chunk {
  readonly documents: readonly Buffer[];
  readonly horizon: Horizon;
  readonly sizeBytes: number;
  readonly release: () => void;
  readonly span: Span | undefined;
}

/**
 * One full read of a collection, in `_id` order, merged with the stream that runs beside it (architecture, "Copy and
 * change stream joined without a gap"). A chunk is held until the stream has passed its `H`; documents that the stream
 * touched since the cursor was opened are struck from it, because the log has newer news of them.
 *
 * The stream's loop calls `touch` for each event before it logs the event, and `releasePassed` after each reply.
 */
export class CopyRun {
  readonly #options: CopyRunOptions;
  #checkpoint: CopyCheckpoint;
  readonly #chunks: Chunk[] = [];
  #touched = new Set<string>();
  #touchedBytes = 0;
  #isCancelled = false;
  #onReleased: (() => void) | null = null;

  constructor(options: CopyRunOptions) {
    this.#options = options;
    this.#checkpoint = options.checkpoint;
  }

  get checkpoint(): CopyCheckpoint {
    return this.#checkpoint;
  }

  /** An event of this document is about to be logged. */
  touch(idKey: string): void {
    if (this.#touched.has(idKey)) return;
    this.#touched.add(idKey);
    this.#touchedBytes += idKey.length + TOUCHED_OVERHEAD_BYTES;
  }

  /** Logs the chunks that the stream has passed, in order. Never waits: their memory is already accounted for. */
  releasePassed(): void {
    const { progress } = this.#options;
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      if (!progress.hasPassed(chunk.horizon)) break;
      this.#chunks.shift();
      this.#log(chunk);
    }
    if (this.#chunks.length === 0) this.#onReleased?.();
  }

  /** Its chunks are no longer wanted; nothing of it is logged from now on. */
  cancel(): void {
    this.#isCancelled = true;
    for (const { release, span } of this.#chunks.splice(0)) {
      release();
      span?.end(new Error("cancelled"));
    }
    this.#onReleased?.();
  }

  /** Reads until the collection's end and logs it; errors of the source are retried after the last document logged. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      for (let isWhole = false; !isWhole;) {
        isWhole = await retryForever((attempt) => this.#readOn(attempt), {
          signal,
          clock: this.#options.clock,
          onError: this.#options.onError,
          delayMsMin: RETRY_DELAY_MS_MIN,
          delayMsMax: RETRY_DELAY_MS_MAX,
          isRetryable: (error) => error instanceof EmcacheError && error.retryable,
        });
      }
      if (this.#isCancelled) return;
      this.#checkpoint = { ...this.#checkpoint, state: "done" };
      const rows = [syncRow(this.#options.target.version, "sync_end")];
      this.#options.queue.push({ rows, copies: [this.#checkpoint], sizeBytes: 0 });
    } finally {
      this.cancel();
    }
  }

  /** Reads from after the last document that was logged; true at the end, false where the cursor must be re-opened. */
  async #readOn(signal: AbortSignal): Promise<boolean> {
    const { source, target } = this.#options;
    // What a broken cursor had read waits for the stream like any chunk; only then may the ids be forgotten.
    await this.#untilReleased(signal);
    this.#touched = new Set();
    this.#touchedBytes = 0;
    if (this.#checkpoint.rowCountEstimate === 0) {
      const rowCountEstimate = await source.estimatedCount(target.collection, signal);
      this.#checkpoint = { ...this.#checkpoint, rowCountEstimate };
    }
    const { pace, readFrom } = this.#options;
    // A second's worth at most: a slow copy has many small chunks, not long waits.
    const options = { source, target, progress: this.#options.progress, readFrom, chunkRowsMax: pace.rowsPerSMax };
    const reader = new CopyReader(options, this.#checkpoint.lastId);
    try {
      while (!reader.isExhausted) {
        const span = this.#options.tracer?.span("copy chunk", {
          attributes: { entity: target.entityName, version: target.version, collection: target.collection },
        });
        const reply = await this.#holdNext(reader, span, signal);
        if (this.#touchedBytes > TOUCHED_BYTES_MAX && !reader.isExhausted) return false;
        if (!reader.isExhausted) await pace.spend(reply.documents.length, signal);
      }
      await this.#untilReleased(signal);
      return true;
    } finally {
      await reader.close();
    }
  }

  async #holdNext(reader: CopyReader, span: Span | undefined, signal: AbortSignal): Promise<CursorReply> {
    try {
      const reply = await reader.next(signal);
      span?.set({ documents: reply.documents.length, bytes: reply.sizeBytes });
      await this.#hold(reply, span, signal);
      return reply;
    } catch (error) {
      span?.end(error);
      throw error;
    }
  }

  async #hold(reply: CursorReply, span: Span | undefined, signal: AbortSignal): Promise<void> {
    if (reply.documents.length === 0) return span?.end();
    const horizon = this.#options.progress.horizonOf(reply.operationTime);
    const release = await this.#options.budget.acquire(reply.sizeBytes, { share: "copy", signal });
    if (!this.#isCancelled) {
      this.#chunks.push({ documents: reply.documents, horizon, sizeBytes: reply.sizeBytes, release, span });
      return;
    }
    release();
    span?.end(new Error("cancelled"));
  }

  #log({ documents, sizeBytes, release, span }: Chunk): void {
    const { queue, target } = this.#options;
    span?.end();
    const fresh = documents.slice(this.#isLogged(documents[0]) ? 1 : 0);
    const last = fresh.at(-1);
    const id = last === undefined ? null : findElement(last, "_id");
    this.#checkpoint = {
      ...this.#checkpoint,
      lastId:
        last === undefined || id === null
          ? this.#checkpoint.lastId
          : singleElementDocument("", id.type, last.subarray(id.valueStart, id.valueEnd)),
      rowCount: this.#checkpoint.rowCount + fresh.length,
    };
    // An event that comes before the rows are made strikes its document too: its row is behind this unit in the queue.
    const touched = this.#touched;
    queue.push({
      rows: [],
      deferred: { rowCount: fresh.length, make: () => rowsOf(fresh, target, touched) },
      copies: [this.#checkpoint],
      sizeBytes,
      release,
    });
  }

  /** A re-opened cursor begins with the last document of before. */
  #isLogged(first: Buffer | undefined): boolean {
    const { lastId } = this.#checkpoint;
    const idKey = first === undefined || lastId === null ? null : idKeyOf(first);
    return idKey !== null && lastId !== null && idKey === idKeyOf(asIdDocument(lastId));
  }

  async #untilReleased(signal: AbortSignal): Promise<void> {
    if (this.#chunks.length === 0) return;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#onReleased = resolve;
    await promise.finally(() => {
      this.#onReleased = null;
      signal.removeEventListener("abort", onAbort);
    });
  }
}

/** Upserts of the documents that the stream has not touched. */
function rowsOf(documents: readonly Buffer[], target: Target, touched: ReadonlySet<string>): RowBuilder {
  const builder = new RowBuilder("copy");
  for (const document of documents) {
    const idKey = idKeyOf(document);
    // A copy fills an empty table: what has no place in it needs no delete.
    if (idKey === null || !touched.has(idKey)) builder.upsert(target, document, { isNew: true });
  }
  return builder;
}

/** `{"": _id}` as `{_id: _id}`. */
function asIdDocument(lastId: Uint8Array): Buffer {
  const bytes = Buffer.from(lastId.buffer, lastId.byteOffset, lastId.byteLength);
  return singleElementDocument("_id", bytes[4] ?? 0, bytes.subarray(6, -1));
}
