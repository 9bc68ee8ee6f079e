import { BSON, type Document } from "mongodb";
import { EmcacheError } from "@emcache/protocol";
import type { CursorReply } from "./cursor-reply.ts";
import { asRefusedToken } from "./mongo-error.ts";
import { RawCursor } from "./raw-cursor.ts";
import type { SourceConnection } from "./source-connection.ts";

/** Where a change stream begins. */
export type StreamStart =
  | { readonly kind: "now" }
  /** After this token; `startAfter` also accepts the token of an invalidate event. */
  | { readonly kind: "resumeAfter" | "startAfter"; readonly token: Uint8Array };

/** What a change stream is to deliver. */
export interface WantedEvents {
  readonly collections: ReadonlySet<string>;
  /** Without them every event is small: what changed is looked up. */
  readonly hasDocuments: boolean;
}

/** A database has no collection of this name; getMores of its aggregations name it. */
const DATABASE_CURSOR_COLLECTION = "$cmd.aggregate";

/** A reply of the stream holds at most this many events. */
const REPLY_EVENTS_MAX = 10_000;

/** The first one comes before their size is known. */
const FIRST_EVENTS_MAX = 200;

/**
 * The one change stream of a source, opened on its database and filtered to the wanted collections. Updates come
 * without their description, so that large ones fit into an event; their documents are looked up.
 *
 * MongoDB manual: "Change Streams", "db.watch()", "Resume a Change Stream".
 */
export class ChangeStream {
  /** The collections whose events it delivers. */
  readonly collections: ReadonlySet<string>;
  readonly #cursor: RawCursor;

  private constructor(cursor: RawCursor, collections: ReadonlySet<string>) {
    this.#cursor = cursor;
    this.collections = collections;
  }

  /**
   * Opens the stream; the first reply may already hold events.
   *
   * @throws source_history_lost where the start is no longer in the server's oplog, source_unavailable, …
   */
  static async open(
    source: SourceConnection,
    wanted: WantedEvents,
    start: StreamStart,
    signal: AbortSignal,
  ): Promise<{ stream: ChangeStream; first: CursorReply }> {
    const command = {
      aggregate: 1,
      pipeline: pipelineOf(source, wanted, start),
      cursor: { batchSize: FIRST_EVENTS_MAX },
      readConcern: { level: "majority" },
    };
    try {
      const { cursor, first } = await RawCursor.open(source, DATABASE_CURSOR_COLLECTION, command, signal);
      return { stream: new ChangeStream(cursor, wanted.collections), first };
    } catch (error) {
      throw start.kind === "now" ? error : asRefusedToken(error);
    }
  }

  /** Whether the server has closed it: after an invalidate event, or a dropped database that the match hid. */
  get isClosed(): boolean {
    return this.#cursor.isExhausted;
  }

  /** Waits at most `waitMsMax` on the server for events; an empty reply says that there were none. */
  next(waitMsMax: number, signal: AbortSignal): Promise<CursorReply> {
    return this.#cursor.getMore({ documentsMax: REPLY_EVENTS_MAX, maxTimeMS: waitMsMax }, signal);
  }

  close(): Promise<void> {
    return this.#cursor.close();
  }
}

function pipelineOf(
  source: SourceConnection,
  { collections, hasDocuments }: WantedEvents,
  start: StreamStart,
): Document[] {
  const names = [...collections];
  const hasImages = source.hasPostImages && hasDocuments;
  const position = start.kind === "now" ? {} : { [start.kind]: tokenDocument(source, start.token) };
  return [
    { $changeStream: { ...position, ...(hasImages ? { fullDocument: "whenAvailable" } : {}) } },
    {
      $match: {
        $or: [
          { "ns.coll": { $in: names } },
          { "to.coll": { $in: names } },
          { operationType: { $in: ["dropDatabase", "invalidate"] } },
        ],
      },
    },
    { $unset: hasDocuments ? "updateDescription" : ["updateDescription", "fullDocument"] },
    // The manual wants it last.
    ...(source.canSplitEvents ? [{ $changeStreamSplitLargeEvent: {} }] : []),
  ];
}

/** @throws source_history_lost for bytes that are no document: a damaged checkpoint is as good as none */
function tokenDocument(source: SourceConnection, token: Uint8Array): Document {
  try {
    return BSON.deserialize(token);
  } catch (error) {
    const message = `Source ${source.sourceName}: the resume token of its checkpoint can't be read`;
    throw new EmcacheError("source_history_lost", message, { cause: error });
  }
}
