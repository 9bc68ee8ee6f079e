import { BSON, type Document, Long, MongoNetworkError, MongoServerError, Timestamp } from "mongodb";
import { OUTSIDE, type Scheduler } from "./scheduler.ts";
import type { Entry, SourceModel, Time } from "./source-model.ts";

/** What a server is like. */
export interface ServerTraits {
  /** Whether tokens say their time, as MongoDB's do; then an empty batch may come in the middle of the oplog. */
  readonly hasDecodableTokens: boolean;
  /** Whether updates carry their image; now and then one is missing all the same. */
  readonly hasPostImages: boolean;
  /**
   * What a cursor shows: the state at its opening, the state at each reply, or of each document any state between its
   * opening and the reply (yields, read-ahead, several shards).
   */
  readonly scan: "opening" | "present" | "between";
}

/** What a command can be made to fail with. */
export type CommandFault = "network" | "reply_lost" | "cursor_lost" | "not_primary";

interface StreamCursor {
  readonly kind: "stream";
  readonly collections: ReadonlySet<string>;
  next: number;
}

interface FindCursor {
  readonly kind: "find";
  readonly collection: string;
  readonly incarnation: number;
  readonly openedAt: Time;
  last: unknown;
}

/** A cursor's reply before it is bytes. */
interface Answer {
  readonly cursorId: Long;
  readonly documents: readonly Buffer[];
  readonly token: Document | null;
}

/** The commands that the capture uses, on the model. Each has steps of its own: arriving, being carried out, answered. */
export class ModelServer {
  readonly #model: SourceModel;
  readonly #scheduler: Scheduler;
  readonly #traits: ServerTraits;
  readonly #cursors = new Map<string, StreamCursor | FindCursor>();
  #lastCursorId = 0;
  #term = 0;

  constructor(model: SourceModel, scheduler: Scheduler, traits: ServerTraits) {
    this.#model = model;
    this.#scheduler = scheduler;
    this.#traits = traits;
  }

  /** Another member is primary now: cursors are gone, and commands under way fail. */
  stepDown(): void {
    this.#term += 1;
    this.#cursors.clear();
    this.#model.noop();
  }

  /** Carries a command out; the promise is the moment at which the answer is ready. */
  async run(command: Document, fault: CommandFault | null): Promise<Record<string, unknown>> {
    await this.#scheduler.turn(`${nameOf(command)} arrives`, OUTSIDE);
    const term = this.#term;
    if (fault === "network") throw new MongoNetworkError("the connection was cut");
    if (fault === "not_primary") throw serverError(10107, "not primary");
    if (fault === "cursor_lost" && "getMore" in command) this.#cursors.delete(String(command["getMore"]));
    const answer = await this.#carryOut(command);
    // What the reply calls its time may be later than anything that was read for it.
    await this.#scheduler.turn(`${nameOf(command)} is answered`, OUTSIDE);
    if (this.#term !== term) throw serverError(11602, "operation was interrupted");
    if (fault === "reply_lost") throw new MongoNetworkError("the connection was cut");
    return replyOf(answer, this.#model.time, "find" in command || "aggregate" in command);
  }

  kill(cursorId: Long): void {
    this.#cursors.delete(cursorId.toString());
  }

  async #carryOut(command: Document): Promise<Answer> {
    if ("aggregate" in command) return this.#openStream(command);
    if ("find" in command) return this.#find(command);
    const cursorId = command["getMore"] as Long;
    const cursor = this.#cursors.get(cursorId.toString());
    if (cursor === undefined) throw serverError(43, `cursor id ${cursorId.toString()} not found`);
    if (cursor.kind === "find") return this.#scan(cursor, cursorId, this.#batchSize(command));
    return this.#follow(cursor, cursorId, command);
  }

  #openStream(command: Document): Answer {
    const [{ $changeStream: stage }, { $match: match }] = command["pipeline"] as [
      { $changeStream: { startAfter?: { _data: string } } },
      { $match: { $or: [{ "ns.coll": { $in: string[] } }] } },
    ];
    const next = stage.startAfter === undefined ? this.#model.entries.length : placeOf(stage.startAfter._data);
    if (next < this.#model.historyFloor) throw serverError(286, "Resume of change stream was not possible");
    const cursor: StreamCursor = { kind: "stream", collections: new Set(match.$or[0]["ns.coll"].$in), next };
    const cursorId = this.#register(cursor);
    // The opening may find none where there are some.
    const { random } = this.#scheduler;
    const limit = random.next() < 0.5 ? 0 : this.#batchSize(command);
    return this.#events(cursor, cursorId, limit);
  }

  async #follow(cursor: StreamCursor, cursorId: Long, command: Document): Promise<Answer> {
    const { random } = this.#scheduler;
    if (!this.#hasNews(cursor)) await this.#untilNews(cursor, Number(command["maxTimeMS"]));
    if (cursor.next < this.#model.historyFloor) throw serverError(286, "the oplog was cut");
    // Where the time is over in the middle of the oplog the batch is empty, and its token says how far it is.
    // Not within a transaction, whose events are at hand once its first one is.
    const mayStopShort = this.#traits.hasDecodableTokens && !isWithinTransaction(this.#model.entries, cursor.next);
    if (mayStopShort && random.next() < 0.15) return this.#stopShort(cursor, cursorId);
    return this.#events(cursor, cursorId, this.#batchSize(command));
  }

  #stopShort(cursor: StreamCursor, cursorId: Long): Answer {
    const { entries } = this.#model;
    const end = entries.findIndex((entry) => entry.index >= cursor.next && this.#isWanted(cursor, entry));
    const limit = end < 0 ? entries.length : end;
    let next = this.#scheduler.random.integer(cursor.next, limit);
    // Not between the entries of a transaction: a server unwinds those together.
    while (next > cursor.next && isWithinTransaction(entries, next)) next--;
    cursor.next = next;
    return { cursorId, documents: [], token: this.#token(this.#scannedTo(cursor.next), cursor.next) };
  }

  /** The time up to which the oplog is scanned before this index: not that of entries of which some are still to come. */
  #scannedTo(next: number): Time {
    const { entries, time } = this.#model;
    const coming = entries[next];
    if (coming === undefined) return time;
    const last = entries[next - 1]?.time ?? 0n;
    return last < coming.time ? last : coming.time - 1n;
  }

  #events(cursor: StreamCursor, cursorId: Long, limit: number): Answer {
    const documents: Buffer[] = [];
    const { entries } = this.#model;
    const isShort = limit === 0;
    let next = cursor.next;
    for (; next < entries.length; next++) {
      const entry = entries[next];
      if (entry === undefined) break;
      if (!this.#isWanted(cursor, entry)) continue;
      if (documents.length >= limit) break;
      documents.push(this.#eventOf(entry));
      if (entry.kind === "invalidate") {
        this.#cursors.delete(cursorId.toString());
        cursor.next = next + 1;
        return { cursorId: Long.ZERO, documents, token: this.#token(entry.time, next + 1) };
      }
    }
    if (!isShort) cursor.next = next;
    return { cursorId, documents, token: this.#token(this.#scannedTo(cursor.next), cursor.next) };
  }

  #isWanted({ collections }: StreamCursor, { kind, collection, toCollection }: Entry): boolean {
    if (kind === "dropDatabase" || kind === "invalidate") return true;
    return collections.has(collection) || (toCollection !== null && collections.has(toCollection));
  }

  #hasNews(cursor: StreamCursor): boolean {
    if (cursor.next < this.#model.historyFloor) return true;
    return this.#model.entries.slice(cursor.next).some((entry) => this.#isWanted(cursor, entry));
  }

  /** Until there is an event or the time is over. */
  async #untilNews(cursor: StreamCursor, waitMs: number): Promise<void> {
    const term = this.#term;
    const { promise, resolve } = Promise.withResolvers<void>();
    const takeBack = this.#scheduler.add("a getMore's time is over", OUTSIDE, resolve, waitMs);
    const stop = this.#model.onNews(() => {
      if (this.#hasNews(cursor) || this.#term !== term) resolve();
    });
    await promise;
    stop();
    takeBack();
    await this.#scheduler.turn("a getMore goes on", OUTSIDE);
  }

  async #find(command: Document): Promise<Answer> {
    const collection = String(command["find"]);
    const filter = command["filter"] as { _id?: { $eq?: unknown; $in?: unknown[] } };
    this.#requireReached(command);
    if (filter._id === undefined) {
      const incarnation = this.#model.incarnations.get(collection) ?? 0;
      const min = (command["min"] as { _id: unknown } | undefined)?._id;
      const cursor: FindCursor = { kind: "find", collection, incarnation, openedAt: this.#model.time, last: undefined };
      return this.#scan(cursor, this.#register(cursor), this.#batchSize(command), plain(min));
    }
    const from = this.#model.time;
    await this.#scheduler.turn("a look-up reads", OUTSIDE);
    const ids = (filter._id.$in ?? [filter._id.$eq]).map(plain);
    const documents = ids.flatMap((id) => this.#model.stateOf(collection, id, this.#timeFrom(from)) ?? []);
    return { cursorId: Long.ZERO, documents, token: null };
  }

  /** A server waits until it has reached the time that it is asked for; one that no reply told never comes. */
  #requireReached(command: Document): void {
    const after = (command["readConcern"] as { afterClusterTime?: Timestamp }).afterClusterTime;
    if (after !== undefined && after.toBigInt() > this.#model.time) {
      throw new RangeError("the capture asks for a time that the source has not reached");
    }
  }

  #scan(cursor: FindCursor, cursorId: Long, batchSize: number, min?: unknown): Answer {
    if ((this.#model.incarnations.get(cursor.collection) ?? 0) !== cursor.incarnation) {
      this.#cursors.delete(cursorId.toString());
      throw serverError(175, "the collection was dropped");
    }
    const isInclusive = cursor.last === undefined;
    const after = isInclusive ? min : cursor.last;
    const limit = Math.min(batchSize, this.#scheduler.random.integer(1, 4));
    const found = this.#model.read(cursor.collection, after, { isInclusive, limit }, () =>
      this.#timeFrom(cursor.openedAt),
    );
    cursor.last = found.at(-1)?.id ?? cursor.last;
    const isEnd = found.length < limit;
    if (isEnd) this.#cursors.delete(cursorId.toString());
    return { cursorId: isEnd ? Long.ZERO : cursorId, documents: found.map(({ bytes }) => bytes), token: null };
  }

  /** A time at which a document may have been read, between `from` and now. */
  #timeFrom(from: Time): Time {
    const now = this.#model.time;
    if (this.#traits.scan === "opening") return from;
    if (this.#traits.scan === "present") return now;
    return from + BigInt(this.#scheduler.random.integer(0, Number(now - from)));
  }

  #batchSize(command: Document): number {
    const cursor = command["cursor"] as { batchSize: number } | undefined;
    const asked = Number(cursor?.batchSize ?? command["batchSize"]);
    return Math.min(asked, this.#scheduler.random.pick([1, 2, 3, 10, 1000]));
  }

  #register(cursor: StreamCursor | FindCursor): Long {
    const id = Long.fromNumber(++this.#lastCursorId);
    this.#cursors.set(id.toString(), cursor);
    return id;
  }

  #token(time: Time, place: number): Document {
    const suffix = place.toString().padStart(8, "0");
    const hex = time.toString(16).padStart(16, "0").toUpperCase();
    return { _data: this.#traits.hasDecodableTokens ? `82${hex}-${suffix}` : `opaque-${suffix}` };
  }

  #eventOf(entry: Entry): Buffer {
    const { kind, time, collection, toCollection, key, bytes, transaction } = entry;
    const hasDocument = kind === "insert" || kind === "replace" || (kind === "update" && this.#hasImage());
    const event: Document = {
      _id: this.#token(time, entry.index + 1),
      operationType: kind,
      clusterTime: new Timestamp(time),
      ...(hasDocument && bytes !== null ? { fullDocument: BSON.deserialize(bytes, { promoteValues: false }) } : {}),
      ...(collection === "" ? { ns: { db: "sim" } } : { ns: { db: "sim", coll: collection } }),
      ...(toCollection === null ? {} : { to: { db: "sim", coll: toCollection } }),
      ...(key === null ? {} : { documentKey: BSON.deserialize(key, { promoteValues: false }) }),
      ...(transaction === null
        ? {}
        : { lsid: { id: new BSON.Binary(Buffer.alloc(16, 7), 4) }, txnNumber: Long.fromNumber(transaction) }),
    };
    return Buffer.from(BSON.serialize(event));
  }

  #hasImage(): boolean {
    return this.#traits.hasPostImages && this.#scheduler.random.next() < 0.9;
  }
}

/** Whether the entries before and after a place are of one source transaction. */
export function isWithinTransaction(entries: readonly Entry[], place: number): boolean {
  const transaction = entries[place - 1]?.transaction ?? null;
  return transaction !== null && entries[place]?.transaction === transaction;
}

/** Index of the first entry after a token. */
export function placeOf(token: string): number {
  return Number(token.slice(token.lastIndexOf("-") + 1));
}

function replyOf({ cursorId, documents, token }: Answer, time: Time, isFirst: boolean): Record<string, unknown> {
  const cursor = {
    id: cursorId,
    ns: "sim.it",
    [isFirst ? "firstBatch" : "nextBatch"]: documents.map((bytes) => BSON.deserialize(bytes, { promoteValues: false })),
    ...(token === null ? {} : { postBatchResumeToken: token }),
  };
  return { cursor: Buffer.from(BSON.serialize(cursor)), operationTime: new Timestamp(time), ok: 1 };
}

function serverError(code: number, message: string): MongoServerError {
  return new MongoServerError({ code, message, errmsg: message });
}

function nameOf(command: Document): string {
  const [name = ""] = Object.keys(command);
  return name === "getMore" || name === "find" ? `${name} ${String(command["collection"] ?? command["find"])}` : name;
}

/** An id as the model knows it. */
function plain(id: unknown): unknown {
  return typeof id === "object" && id !== null && "valueOf" in id ? id.valueOf() : id;
}
