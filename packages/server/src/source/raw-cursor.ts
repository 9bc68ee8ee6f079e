import { Long } from "mongodb";
import type { Document } from "mongodb";
import { type CursorReply, parseCursorReply } from "./cursor-reply.ts";
import type { ReadFrom, SourceConnection, SourceSession } from "./source-connection.ts";

/** A reply is asked for as many documents as make about this much: the server would fill it up to 16 MiB. */
const REPLY_BYTES_WANTED = 2 * 1024 * 1024;

/** Before the size of documents is known: large ones fill 16 MiB at the worst, small ones are many soon. */
const FIRST_BATCH_SIZE = 200;

/**
 * A cursor driven by our own commands, because the driver's cursors decode documents or, for change streams, refuse
 * `raw: true`; this one hands out whole replies with `operationTime` and `postBatchResumeToken`. Its getMores carry
 * the session of the opening command, which servers require.
 */
export class RawCursor {
  readonly #session: SourceSession;
  readonly #collection: string;
  #cursorId = Long.ZERO;
  /** Size of a document in the last reply that had any. */
  #documentBytes = REPLY_BYTES_WANTED / FIRST_BATCH_SIZE;

  private constructor(session: SourceSession, collection: string) {
    this.#session = session;
    this.#collection = collection;
  }

  /**
   * Runs `command` (`find` or `aggregate`) and returns the cursor with the first reply. `collection` is what its
   * getMores name: the collection, or `$cmd.aggregate` for an aggregation on the database.
   */
  static async open(
    source: SourceConnection,
    collection: string,
    command: Document,
    signal: AbortSignal,
    readFrom: ReadFrom = "primary",
  ): Promise<{ cursor: RawCursor; first: CursorReply }> {
    const cursor = new RawCursor(source.startSession(readFrom), collection);
    try {
      const first = parseCursorReply(await cursor.#session.run(command, signal));
      cursor.#take(first);
      return { cursor, first };
    } catch (error) {
      await cursor.#session.end();
      throw error;
    }
  }

  /** Whether the server has ended it: there is no further reply. */
  get isExhausted(): boolean {
    return this.#cursorId.isZero();
  }

  /** The next reply, of at most `documentsMax` documents. One call at a time. */
  async getMore(
    { documentsMax, ...options }: { documentsMax: number; maxTimeMS?: number },
    signal: AbortSignal,
  ): Promise<CursorReply> {
    const wanted = Math.ceil(REPLY_BYTES_WANTED / Math.max(1, this.#documentBytes));
    const batchSize = Math.min(documentsMax, Math.max(1, wanted));
    const command = { getMore: this.#cursorId, collection: this.#collection, batchSize, ...options };
    const reply = parseCursorReply(await this.#session.run(command, signal));
    this.#take(reply);
    return reply;
  }

  #take({ cursorId, documents, sizeBytes }: CursorReply): void {
    this.#cursorId = cursorId;
    if (documents.length > 0) this.#documentBytes = sizeBytes / documents.length;
  }

  /** Ends it here and, within a second, on the server; never throws. */
  async close(): Promise<void> {
    if (!this.isExhausted) {
      const cursorId = this.#cursorId;
      this.#cursorId = Long.ZERO;
      await this.#session.killCursor(this.#collection, cursorId);
    }
    await this.#session.end();
  }
}
