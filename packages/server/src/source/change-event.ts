import { EmcacheError } from "@emcache/protocol";
import type { ClusterTime } from "./cluster-time.ts";
import { findElement, forEachElement, idKeyOf, nameOf, type RawElement, stringOf, valueOf } from "./raw-document.ts";

/** What happened to a document. */
export type DocumentOperation = "insert" | "update" | "replace" | "delete";

/** What happened to a collection, a database or the stream itself. */
export type CollectionOperation = "drop" | "rename" | "dropDatabase" | "invalidate";

interface EventPlace {
  /** BSON bytes of the event's `_id`: the resume token after which the next event follows. */
  readonly token: Buffer;
  readonly clusterTime: ClusterTime;
  readonly collection: string;
  /** Which source transaction it belongs to (lsid and txnNumber); null for none. */
  readonly transaction: string | null;
  readonly sizeBytes: number;
}

/** A change of one document. */
export interface DocumentEvent extends EventPlace {
  readonly operation: DocumentOperation;
  /** BSON document with `_id` (and shard key fields). */
  readonly documentKey: Buffer;
  /** Type and bytes of `_id`; see `idKeyOf`. */
  readonly idKey: string;
  /** The whole document where the event carries it: inserts and replaces do. */
  readonly fullDocument: Buffer | null;
}

/** A change of a whole collection or database. `collection` is "" for those that concern the database. */
export interface CollectionEvent extends EventPlace {
  readonly operation: CollectionOperation;
  /** New name after a rename, else null. */
  readonly toCollection: string | null;
}

export type ChangeEvent = DocumentEvent | CollectionEvent;

/** Whether the event concerns one document. */
export function isDocumentEvent(event: ChangeEvent): event is DocumentEvent {
  return "documentKey" in event;
}

/**
 * Reads a change event where it lies (MongoDB manual, "Change Events"). Null for an event that says nothing about
 * documents (`create`, `createIndexes`, …), of which only the token matters.
 *
 * @throws source_event_invalid for bytes that are no change event.
 */
export function parseChangeEvent(bytes: Buffer): ChangeEvent | null {
  const fields = new Map<string, RawElement>();
  forEachElement(bytes, 0, (element) => fields.set(nameOf(bytes, element), element));
  const operation = textField(bytes, fields, "operationType");
  switch (operation) {
    case "insert":
    case "update":
    case "replace":
    case "delete":
      return documentEvent(bytes, fields, operation);
    case "drop":
    case "rename":
    case "dropDatabase":
    case "invalidate":
      return {
        ...eventPlace(bytes, fields),
        operation,
        toCollection: collectionField(bytes, fields, "to"),
      };
    default:
      return null;
  }
}

/** The resume token of an event, whatever its kind. */
export function tokenOf(bytes: Buffer): Buffer {
  const id = findElement(bytes, "_id");
  if (id?.type !== 0x03) throw invalid("it has no `_id`");
  return Buffer.from(valueOf(bytes, id));
}

function documentEvent(
  bytes: Buffer,
  fields: ReadonlyMap<string, RawElement>,
  operation: DocumentOperation,
): DocumentEvent {
  const key = fields.get("documentKey");
  const full = fields.get("fullDocument");
  if (key?.type !== 0x03) throw invalid(`${operation} has no \`documentKey\``);
  const documentKey = valueOf(bytes, key);
  const idKey = idKeyOf(documentKey);
  if (idKey === null) throw invalid("`documentKey` has no `_id`");
  const fullDocument = full?.type === 0x03 ? valueOf(bytes, full) : null;
  return { ...eventPlace(bytes, fields), operation, documentKey, idKey, fullDocument };
}

function eventPlace(bytes: Buffer, fields: ReadonlyMap<string, RawElement>): EventPlace {
  const id = fields.get("_id");
  const time = fields.get("clusterTime");
  if (id?.type !== 0x03) throw invalid("it has no `_id`");
  if (time?.type !== 0x11) throw invalid("it has no `clusterTime`");
  return {
    // A copy: the token outlives the reply that it came in.
    token: Buffer.from(valueOf(bytes, id)),
    clusterTime: bytes.readBigUInt64LE(time.valueStart),
    collection: collectionField(bytes, fields, "ns") ?? "",
    transaction: transactionField(bytes, fields),
    sizeBytes: bytes.length,
  };
}

/** lsid and txnNumber together name a transaction; the number alone is only unique within its session. */
function transactionField(bytes: Buffer, fields: ReadonlyMap<string, RawElement>): string | null {
  const number = fields.get("txnNumber");
  const session = fields.get("lsid");
  if (number?.type !== 0x12 || session?.type !== 0x03) return null;
  const id = findElement(valueOf(bytes, session), "id");
  const sessionId = id?.type === 0x05 ? valueOf(bytes, session).subarray(id.valueStart + 5, id.valueEnd) : null;
  return `${(sessionId ?? valueOf(bytes, session)).toString("hex")}:${bytes.readBigInt64LE(number.valueStart)}`;
}

function collectionField(bytes: Buffer, fields: ReadonlyMap<string, RawElement>, name: string): string | null {
  const namespace = fields.get(name);
  if (namespace?.type !== 0x03) return null;
  const document = valueOf(bytes, namespace);
  const collection = findElement(document, "coll");
  return collection === null ? null : stringOf(document, collection);
}

function textField(bytes: Buffer, fields: ReadonlyMap<string, RawElement>, name: string): string {
  const element = fields.get(name);
  const text = element === undefined ? null : stringOf(bytes, element);
  if (text === null) throw invalid(`it has no \`${name}\``);
  return text;
}

function invalid(what: string): EmcacheError {
  return new EmcacheError(
    "source_event_invalid",
    `The change stream sent something that is not a change event: ${what}`,
  );
}
