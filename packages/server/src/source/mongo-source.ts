import { type ClientSession, type Db, type Document, type Long, MongoClient, ReadPreference, Timestamp } from "mongodb";
import { EmcacheError } from "@emcache/protocol";
import { untilAborted } from "../runtime/until-aborted.ts";
import { type ClusterTime, clusterTimeOf } from "./cluster-time.ts";
import { classifyMongoError } from "./mongo-error.ts";
import type { ReadFrom, SourceConnection, SourceSession } from "./source-connection.ts";

/** Where a source is. */
export interface MongoSourceOptions {
  readonly sourceName: string;
  readonly uri: string;
  readonly database: string;
  /** `post_image`: updates carry the image that the collection stores, where it does. */
  readonly fullDocument: "lookup" | "post_image";
}

/** MongoDB 4.4 (the brief's oldest) speaks wire version 9. */
const WIRE_VERSION_MIN = 9;

/** MongoDB 6.0, the first with post-images. */
const WIRE_VERSION_IMAGES = 17;

/** MongoDB 7.0: every server from here on has `$changeStreamSplitLargeEvent`. */
const WIRE_VERSION_SPLIT = 21;

/** What `hello` said of a server. */
interface ServerTraits {
  readonly isSharded: boolean;
  readonly wireVersion: number;
}

/** A set whose secondaries are all away is read from its primary rather than not at all. */
const READ_PREFERENCES: Readonly<Record<ReadFrom, ReadPreference>> = {
  primary: ReadPreference.primary,
  secondary: ReadPreference.secondaryPreferred,
};

/**
 * How long a server may be silent before its connection counts as dead. Longer than any answer we ask for: the stream
 * asks for one within a second, and a scan's first batch may take a collection scan on a server without an index.
 */
const SOCKET_TIMEOUT_MS = 120_000;

/** A healthy server is left within milliseconds; what is given up ends with the process or by the server's own limits. */
const CLOSE_TIMEOUT_MS = 2_000;

/** Closing a cursor is a courtesy to the server, which ends idle ones by itself after ten minutes. */
const KILL_CURSOR_TIMEOUT_MS = 1_000;

/** A first answer is wanted quickly, so that `/health` says what is wrong; the caller retries. */
const SERVER_SELECTION_TIMEOUT_MS = 5_000;

/**
 * A connection to one source: raw commands on its database, always to the member that can serve a change stream with
 * majority reads, the primary or one mongos. Throws only errors of the catalogue.
 */
export class MongoSource implements SourceConnection {
  readonly sourceName: string;
  readonly databaseName: string;
  /** Whether mongos answers: an empty batch there says nothing about the other shards. */
  readonly isSharded: boolean;
  /** Whether updates carry their post-image where the collection stores it. */
  readonly hasPostImages: boolean;
  /** Whether the server can split an event that is larger than a document may be: one with images can be. */
  readonly canSplitEvents: boolean;
  readonly #client: MongoClient;
  readonly #database: Db;

  private constructor(options: MongoSourceOptions, client: MongoClient, { isSharded, wireVersion }: ServerTraits) {
    this.sourceName = options.sourceName;
    this.databaseName = options.database;
    this.isSharded = isSharded;
    this.hasPostImages = options.fullDocument === "post_image";
    this.canSplitEvents = this.hasPostImages && wireVersion >= WIRE_VERSION_SPLIT;
    this.#client = client;
    this.#database = client.db(options.database);
  }

  /**
   * Connects and checks that the server can be a source.
   *
   * @throws source_unavailable, source_unauthorized, source_unsuitable
   */
  static async connect(options: MongoSourceOptions, signal: AbortSignal): Promise<MongoSource> {
    try {
      const source = await MongoSource.#open(options, options.uri, signal);
      const oneMongos = source.isSharded ? withOneHost(options.uri) : options.uri;
      if (oneMongos === options.uri) return source;
      await source.close();
      return await MongoSource.#open(options, oneMongos, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw classifyMongoError(error, options.sourceName);
    }
  }

  static async #open(options: MongoSourceOptions, uri: string, signal: AbortSignal): Promise<MongoSource> {
    const client = new MongoClient(uri, {
      appName: "emcache",
      readPreference: ReadPreference.primary,
      // Our own loop re-opens cursors at the right place; the driver's blind retry of a getMore can't.
      retryReads: false,
      serverSelectionTimeoutMS: SERVER_SELECTION_TIMEOUT_MS,
      socketTimeoutMS: SOCKET_TIMEOUT_MS,
      // One for the stream, one for look-ups, the rest for copies.
      maxPoolSize: 16,
    });
    try {
      await untilAborted(client.connect(), signal);
      const hello = await untilAborted(client.db("admin").command({ hello: 1 }), signal);
      return new MongoSource(options, client, checkHello(hello, options));
    } catch (error) {
      await client.close(true);
      throw error;
    }
  }

  startSession(readFrom: ReadFrom = "primary"): SourceSession {
    const session = this.#client.startSession({ causalConsistency: false });
    const run = (command: Document, signal: AbortSignal): Promise<Record<string, unknown>> =>
      this.#rawCommand(command, { session, readPreference: READ_PREFERENCES[readFrom] }, signal);
    return {
      run,
      killCursor: async (collection: string, cursorId: Long): Promise<void> => {
        const command = { killCursors: collection, cursors: [cursorId] };
        await run(command, AbortSignal.timeout(KILL_CURSOR_TIMEOUT_MS)).catch(() => "the server ends it by itself");
      },
      end: async (): Promise<void> => {
        await session.endSession().catch(() => "the session ends by itself");
      },
    };
  }

  async #rawCommand(
    command: Document,
    options: { readonly session: ClientSession; readonly readPreference: ReadPreference },
    signal: AbortSignal,
  ): Promise<Record<string, unknown>> {
    signal.throwIfAborted();
    try {
      return await untilAborted(this.#database.command(command, { ...options, raw: true }), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw classifyMongoError(error, this.sourceName);
    }
  }

  async collectionNames(signal: AbortSignal): Promise<string[]> {
    try {
      const collections = await untilAborted(this.#database.listCollections({}, { nameOnly: true }).toArray(), signal);
      return collections.map(({ name }) => name).toSorted();
    } catch (error) {
      signal.throwIfAborted();
      throw classifyMongoError(error, this.sourceName);
    }
  }

  async estimatedCount(collection: string, signal: AbortSignal): Promise<number> {
    try {
      return await untilAborted(this.#database.collection(collection).estimatedDocumentCount(), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw classifyMongoError(error, this.sourceName);
    }
  }

  async oldestOplogTime(signal: AbortSignal): Promise<ClusterTime | null> {
    if (this.isSharded) return null;
    // The manual, "Replica Set Oplog": a capped collection, so its natural order is that of its times.
    const oplog = this.#client.db("local").collection("oplog.rs");
    const first = oplog.find({}, { projection: { ts: 1 }, sort: { $natural: 1 }, limit: 1 }).next();
    const ts: unknown = (await untilAborted(first, signal).catch(() => null))?.["ts"];
    return ts instanceof Timestamp ? clusterTimeOf(ts) : null;
  }

  async close(): Promise<void> {
    // The driver says goodbye to the server first, and a frozen one does not answer.
    await untilAborted(this.#client.close(true), AbortSignal.timeout(CLOSE_TIMEOUT_MS)).catch(() => "given up");
  }
}

/** The URI with one of its hosts, by chance: a cursor lives on the mongos that opened it, so one connection uses one. */
function withOneHost(uri: string): string {
  const match = /^(mongodb:\/\/(?:[^/?]*@)?)([^/?]+)(.*)$/s.exec(uri);
  if (match === null) return uri;
  const [, before = "", hosts = "", after = ""] = match;
  const seeds = hosts.split(",");
  return before + (seeds[Math.floor(Math.random() * seeds.length)] ?? hosts) + after;
}

/** @throws source_unsuitable where the server can't be this source. */
function checkHello(hello: Document, { sourceName, fullDocument }: MongoSourceOptions): ServerTraits {
  const isSharded = hello["msg"] === "isdbgrid";
  if (!isSharded && typeof hello["setName"] !== "string") {
    throw new EmcacheError(
      "source_unsuitable",
      `Source ${sourceName} is a standalone server, which has no change streams`,
    );
  }
  const said: unknown = hello["maxWireVersion"];
  const wireVersion = typeof said === "number" ? said : 0;
  if (wireVersion < WIRE_VERSION_MIN) {
    throw new EmcacheError(
      "source_unsuitable",
      `Source ${sourceName} is older than MongoDB 4.4 (wire version ${wireVersion})`,
    );
  }
  if (fullDocument === "post_image" && wireVersion < WIRE_VERSION_IMAGES) {
    throw new EmcacheError(
      "source_unsuitable",
      `Source ${sourceName} has no post-images (wire version ${wireVersion})`,
      {
        hint: `Post-images need MongoDB 6.0 or newer; set sources.${sourceName}.full_document = "lookup".`,
      },
    );
  }
  return { isSharded, wireVersion };
}
