import type { BsonDocument } from "../bson/codec.ts";
import { EMPTY_DOCUMENT } from "../bson/raw-document.ts";
import type { ClusterTime } from "./cluster-clock.ts";

/** Changes of one document. */
export type DocumentOperation = "insert" | "update" | "replace" | "delete";

/** Changes of a collection or a database; those in the second line are seen with `showExpandedEvents` only. */
export type CollectionOperation =
  | "drop"
  | "rename"
  | "dropDatabase"
  | "create"
  | "createIndexes"
  | "dropIndexes"
  | "modify";

/** A collection, as it was when the entry was written. */
export interface EntryNamespace {
  readonly database: string;
  /** "" for what concerns a whole database. */
  readonly collection: string;
  /** 16 bytes; null for what concerns a whole database. */
  readonly uuid: Buffer | null;
}

/** Which transaction a change was part of. */
export interface TransactionIdentity {
  /** BSON document `{id, uid}`. */
  readonly lsid: Buffer;
  readonly txnNumber: bigint;
}

interface EntryPlace {
  /** Counts up from 0 over the life of the server. */
  readonly sequence: number;
  readonly time: ClusterTime;
  readonly wallTimeMs: number;
  readonly namespace: EntryNamespace;
  /** Place among the changes of one transaction, which share a time. */
  readonly operationIndex: number;
  readonly sizeBytes: number;
  /** The event as streams send it, made by the first that wants it: one stream's form is kept. */
  cachedEvent: Buffer | null;
  cachedForm: string;
}

/** A change of one document. `before` and `after` are whole documents. */
export interface DocumentEntry extends EntryPlace {
  readonly operation: DocumentOperation;
  readonly before: Buffer | null;
  readonly after: Buffer | null;
  /** Whether the collection kept pre- and post-images at the time. */
  readonly hasImages: boolean;
  readonly transaction: TransactionIdentity | null;
}

/** A change of a collection or a database. */
export interface CollectionEntry extends EntryPlace {
  readonly operation: CollectionOperation;
  /** The new name after a rename, else null. */
  readonly to: EntryNamespace | null;
  /** `operationDescription` of expanded events. */
  readonly description: BsonDocument;
}

export type OplogEntry = DocumentEntry | CollectionEntry;

/** What `Oplog.append` adds its own fields to. */
export type NewEntry =
  | Omit<DocumentEntry, "sequence" | "cachedEvent" | "cachedForm">
  | Omit<CollectionEntry, "sequence" | "cachedEvent" | "cachedForm">;

/** Whether the entry concerns one document. */
export function isDocumentEntry(entry: OplogEntry): entry is DocumentEntry {
  return "after" in entry;
}

/** The document that an entry is about, as it was after the change or, where it is gone, before: it has the `_id`. */
export function documentIn({ after, before }: DocumentEntry): Buffer {
  return after ?? before ?? EMPTY_DOCUMENT;
}
