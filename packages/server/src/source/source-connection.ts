import type { Document, Long } from "mongodb";
import type { ClusterTime } from "./cluster-time.ts";

/** What the commands of one cursor share: its getMores must carry the session of the command that opened it. */
export interface SourceSession {
  /**
   * Runs a cursor command; the reply's documents stay BSON. Rejects at once when `signal` aborts.
   *
   * @throws source_history_lost, source_unavailable, source_unauthorized, source_unsuitable
   */
  run(command: Document, signal: AbortSignal): Promise<Record<string, unknown>>;
  /** Ends a cursor on the server; gives up after a second and never throws. */
  killCursor(collection: string, cursorId: Long): Promise<void>;
  /** Never throws. */
  end(): Promise<void>;
}

/** Which members answer: the one of the change stream, or secondaries where there are any. */
export type ReadFrom = "primary" | "secondary";

/** A source as the capture sees it: raw commands on its database, to the same member unless a session says otherwise. `MongoSource` is one. */
export interface SourceConnection {
  readonly sourceName: string;
  readonly databaseName: string;
  /** Whether mongos answers: an empty batch there says nothing about the other shards. */
  readonly isSharded: boolean;
  /** Whether updates carry their post-image where the collection stores it. */
  readonly hasPostImages: boolean;
  /** Whether the server can split an event that is larger than a document may be: one with images can be. */
  readonly canSplitEvents: boolean;
  /** Default: `primary`. */
  startSession(readFrom?: ReadFrom): SourceSession;
  /** Names of the database's collections; none where it does not exist. */
  collectionNames(signal: AbortSignal): Promise<string[]>;
  /** How many documents the collection has, by its metadata; 0 where there is none. */
  estimatedCount(collection: string, signal: AbortSignal): Promise<number>;
  /**
   * The oldest time that the source's own oplog still holds; null where it doesn't say (a mongos, a server that isn't
   * MongoDB, no right to read `local`). Absent: it can't be asked.
   */
  oldestOplogTime?(signal: AbortSignal): Promise<ClusterTime | null>;
  /** Ends every connection; commands under way fail. */
  close(): Promise<void>;
}
