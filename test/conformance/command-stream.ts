import { type ClientSession, type Db, type Document, Long, type MongoClient } from "mongodb";

/** A change stream driven by commands, so that every reply is seen whole, as EMCache's capture does. */
export class CommandStream {
  readonly #db: Db;
  readonly #session: ClientSession;
  readonly #collection: string;
  /** Zero once the server has closed it. */
  cursorId = Long.ZERO;
  /** `postBatchResumeToken` of the last reply. */
  token: Document = {};
  /** Events of the first reply. */
  first: Document[] = [];

  private constructor(client: MongoClient, db: Db, collection: string | null) {
    this.#db = db;
    this.#session = client.startSession({ causalConsistency: false });
    this.#collection = collection ?? "$cmd.aggregate";
  }

  /** @param collection null for the whole database */
  static async open(
    client: MongoClient,
    db: Db,
    collection: string | null,
    stage: Document = {},
    stages: Document[] = [],
  ): Promise<CommandStream> {
    const stream = new CommandStream(client, db, collection);
    const pipeline = [{ $changeStream: stage }, ...stages];
    const command = { aggregate: collection ?? 1, pipeline, cursor: {}, readConcern: { level: "majority" } };
    const reply = await db.command(command, { session: stream.#session, promoteLongs: false });
    stream.first = stream.#take(reply["cursor"] as Document, "firstBatch");
    return stream;
  }

  /** The events of one reply. */
  async next(maxTimeMS = 500, batchSize = 1_000): Promise<Document[]> {
    const command = { getMore: this.cursorId, collection: this.#collection, batchSize, maxTimeMS };
    const reply = await this.#db.command(command, { session: this.#session, promoteLongs: false });
    return this.#take(reply["cursor"] as Document, "nextBatch");
  }

  /** Reads until there are `count` events, the stream is closed, or nothing came for some seconds. */
  async events(count: number): Promise<Document[]> {
    const events = [...this.first];
    this.first = [];
    const deadline = performance.now() + 8_000;
    while (events.length < count && !this.cursorId.isZero() && performance.now() < deadline) {
      events.push(...(await this.next()));
    }
    return events;
  }

  async close(): Promise<void> {
    if (!this.cursorId.isZero()) {
      await this.#db
        .command({ killCursors: this.#collection, cursors: [this.cursorId] })
        .catch(() => "it ends by itself");
    }
    await this.#session.endSession();
  }

  #take(cursor: Document, batchName: string): Document[] {
    this.cursorId = cursor["id"] as Long;
    if (cursor["postBatchResumeToken"] !== undefined) this.token = cursor["postBatchResumeToken"] as Document;
    return cursor[batchName] as Document[];
  }
}
