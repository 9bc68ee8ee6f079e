import { BSON, type Document } from "mongodb";
import { timestampOf } from "./cluster-time.ts";
import type { CursorReply } from "./cursor-reply.ts";
import type { Target } from "./entity-routing.ts";
import { RawCursor } from "./raw-cursor.ts";
import { findElement, singleElementDocument } from "./raw-document.ts";
import type { ReadFrom, SourceConnection } from "./source-connection.ts";
import type { StreamProgress } from "./stream-progress.ts";

/** Documents a chunk: large enough that the round trip is a small part of its time, small enough to pass its `H` soon. */
const CHUNK_ROWS_MAX = 2_000;

/** What the documents of a chunk are to weigh together. */
const CHUNK_BYTES_WANTED = 2 * 1024 * 1024;

/** The first one comes before the size of documents is known. */
const FIRST_CHUNK_ROWS_MAX = 200;

export interface CopyReaderOptions {
  readonly source: SourceConnection;
  readonly target: Target;
  readonly progress: StreamProgress;
  /**
   * Where documents are read. The primary's one cursor stays on the stream's own member. On a secondary each chunk is
   * a `find` of its own that waits for what the stream has brought: another one may answer each time.
   */
  readonly readFrom: ReadFrom;
  /** Documents a chunk at most, below the reader's own limit; 0 for none. */
  readonly chunkRowsMax: number;
}

/** Reads a target's documents in `_id` order, reply by reply, from after a document on. */
export class CopyReader {
  readonly #options: CopyReaderOptions;
  readonly #chunkRowsMax: number;
  #lastId: Uint8Array | null;
  #cursor: RawCursor | null = null;
  /** Size of a document in the last chunk. */
  #documentBytes = CHUNK_BYTES_WANTED / FIRST_CHUNK_ROWS_MAX;
  #isExhausted = false;

  /** @param lastId BSON document `{"": _id}` of the document to go on after, which may come once more; null: the first */
  constructor(options: CopyReaderOptions, lastId: Uint8Array | null) {
    this.#options = options;
    this.#lastId = lastId;
    this.#chunkRowsMax = options.chunkRowsMax === 0 ? CHUNK_ROWS_MAX : Math.min(CHUNK_ROWS_MAX, options.chunkRowsMax);
  }

  /** Whether the collection's end was read. */
  get isExhausted(): boolean {
    return this.#isExhausted;
  }

  async next(signal: AbortSignal): Promise<CursorReply> {
    const reply = this.#options.readFrom === "secondary" ? await this.#find(signal) : await this.#scan(signal);
    const last = reply.documents.at(-1);
    const id = last === undefined ? null : findElement(last, "_id");
    if (last === undefined || id === null) return reply;
    this.#lastId = singleElementDocument("", id.type, last.subarray(id.valueStart, id.valueEnd));
    this.#documentBytes = reply.sizeBytes / reply.documents.length;
    return reply;
  }

  async close(): Promise<void> {
    const cursor = this.#cursor;
    this.#cursor = null;
    await cursor?.close();
  }

  /** The next reply of the one cursor. */
  async #scan(signal: AbortSignal): Promise<CursorReply> {
    let reply: CursorReply;
    if (this.#cursor === null) {
      const { source, target } = this.#options;
      const batchSize = Math.min(FIRST_CHUNK_ROWS_MAX, this.#chunkRowsMax);
      const command = { ...this.#command(target.filter?.query ?? {}), batchSize };
      const { cursor, first } = await RawCursor.open(source, target.collection, command, signal);
      this.#cursor = cursor;
      reply = first;
    } else {
      reply = await this.#cursor.getMore({ documentsMax: this.#chunkRowsMax }, signal);
    }
    this.#isExhausted = this.#cursor.isExhausted;
    return reply;
  }

  /** One chunk without a cursor that outlives it: a `getMore` would have to reach the member that opened it. */
  async #find(signal: AbortSignal): Promise<CursorReply> {
    const { source, target } = this.#options;
    const limit = Math.max(1, Math.min(this.#chunkRowsMax, Math.ceil(CHUNK_BYTES_WANTED / this.#documentBytes)));
    // The bound's own document must not be all that fits into the reply: that would look like the end.
    const others = this.#lastId === null ? [] : [{ _id: { $ne: idIn(this.#lastId) } }];
    const filters = [...(target.filter === null ? [] : [target.filter.query]), ...others];
    const filter = filters.length === 0 ? {} : { $and: filters };
    const command = { ...this.#command(filter), limit, batchSize: limit, singleBatch: true };
    const { cursor, first } = await RawCursor.open(source, target.collection, command, signal, "secondary");
    await cursor.close();
    this.#isExhausted = first.documents.length === 0;
    return first;
  }

  #command(filter: Document): Document {
    const { target, progress } = this.#options;
    const after = progress.operationTime;
    // `min` is an index bound, so it goes on in the order of all BSON types, where `$gt` stays within one type. It
    // includes its bound: the first document is dropped when it is the last one of before.
    const from = this.#lastId === null ? {} : { min: { _id: idIn(this.#lastId) }, hint: { _id: 1 } };
    return {
      find: target.collection,
      filter,
      sort: { _id: 1 },
      ...from,
      noCursorTimeout: false,
      readConcern: { level: "majority", ...(after === null ? {} : { afterClusterTime: timestampOf(after) }) },
    };
  }
}

/** The value in `{"": _id}`, with its exact BSON type. */
function idIn(lastId: Uint8Array): unknown {
  return BSON.deserialize(lastId, { promoteValues: false, promoteBuffers: false })[""];
}
