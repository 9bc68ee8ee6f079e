import { EmcacheError } from "@emcache/protocol";
import type { ClusterTime } from "./cluster-time.ts";
import { findElement, forEachElement, idKeyOf, stringOf, valueOf } from "./raw-document.ts";

/** What happened to a document. */
export type DocumentOperation = "insert" | "update" | "replace" | "delete";

/** What happened to a collection, a database or the stream itself. */
export type CollectionOperation = "drop" | "rename" | "dropDatabase" | "invalidate";

interface EventPlace {
  /** BSON bytes of the event's `_id`: the resume token after which the next event follows. A view of its reply. */
  readonly token: Buffer;
  readonly clusterTime: ClusterTime;
  /** When the source says that it happened, in milliseconds since 1970; null before MongoDB 6.0. */
  readonly wallTimeMs: number | null;
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

/** Where the wanted fields of an event lie: start of the value, or -1. */
interface EventFields {
  id: number;
  operationType: number;
  clusterTime: number;
  wallTime: number;
  fullDocument: number;
  ns: number;
  to: number;
  documentKey: number;
  lsid: number;
  txnNumber: number;
}

/**
 * Reads a change event where it lies (MongoDB manual, "Change Events"). Null for an event that says nothing about
 * documents (`create`, `createIndexes`, …), of which only the token matters. The event's parts are views of `bytes`.
 *
 * @throws source_event_invalid for bytes that are no change event.
 */
export function parseChangeEvent(bytes: Buffer): ChangeEvent | null {
  const fields = fieldsOf(bytes);
  if (fields.operationType < 0) throw invalid("it has no `operationType`");
  const operation = stringAt(bytes, fields.operationType);
  switch (operation) {
    case "insert":
    case "update":
    case "replace":
    case "delete":
      return documentEvent(bytes, fields, operation);
    case "drop":
    case "rename":
    case "dropDatabase":
    case "invalidate": {
      const toCollection = fields.to < 0 ? null : collectionIn(documentAt(bytes, fields.to));
      return { ...eventPlace(bytes, fields), operation, toCollection };
    }
    default:
      return null;
  }
}

/** The resume token of an event, whatever its kind. */
export function tokenOf(bytes: Buffer): Buffer {
  const id = findElement(bytes, "_id");
  if (id?.type !== 0x03) throw invalid("it has no `_id`");
  return valueOf(bytes, id);
}

function documentEvent(bytes: Buffer, fields: EventFields, operation: DocumentOperation): DocumentEvent {
  if (fields.documentKey < 0) throw invalid(`${operation} has no \`documentKey\``);
  const documentKey = documentAt(bytes, fields.documentKey);
  const idKey = idKeyOf(documentKey);
  if (idKey === null) throw invalid("`documentKey` has no `_id`");
  const fullDocument = fields.fullDocument < 0 ? null : documentAt(bytes, fields.fullDocument);
  const { token, clusterTime, wallTimeMs, collection, transaction, sizeBytes } = eventPlace(bytes, fields);
  const place = { token, clusterTime, wallTimeMs, collection, transaction, sizeBytes };
  return { operation, ...place, documentKey, idKey, fullDocument };
}

function eventPlace(bytes: Buffer, fields: EventFields): EventPlace {
  if (fields.id < 0) throw invalid("it has no `_id`");
  if (fields.clusterTime < 0) throw invalid("it has no `clusterTime`");
  return {
    token: documentAt(bytes, fields.id),
    clusterTime: bytes.readBigUInt64LE(fields.clusterTime),
    wallTimeMs: fields.wallTime < 0 ? null : Number(bytes.readBigInt64LE(fields.wallTime)),
    collection: fields.ns < 0 ? "" : collectionIn(documentAt(bytes, fields.ns)),
    transaction: fields.txnNumber < 0 || fields.lsid < 0 ? null : transactionOf(bytes, fields),
    sizeBytes: bytes.length,
  };
}

/** lsid and txnNumber together name a transaction; the number alone is only unique within its session. */
function transactionOf(bytes: Buffer, { lsid, txnNumber }: EventFields): string {
  const session = documentAt(bytes, lsid);
  const id = findElement(session, "id");
  const sessionId = id?.type === 0x05 ? session.subarray(id.valueStart + 5, id.valueEnd) : session;
  return `${sessionId.toString("hex")}:${bytes.readBigInt64LE(txnNumber)}`;
}

function collectionIn(namespace: Buffer): string {
  const collection = findElement(namespace, "coll");
  return (collection === null ? null : stringOf(namespace, collection)) ?? "";
}

/**
 * One walk over the event's top level. Its field names are told apart by length and first letter, which no two of the
 * wanted ones share, and then compared; decoding every name into a Map cost five times as much (measured).
 */
function fieldsOf(bytes: Buffer): EventFields {
  const fields: EventFields = {
    id: -1,
    operationType: -1,
    clusterTime: -1,
    wallTime: -1,
    fullDocument: -1,
    ns: -1,
    to: -1,
    documentKey: -1,
    lsid: -1,
    txnNumber: -1,
  };
  forEachElement(bytes, 0, ({ type, nameStart, nameEnd, valueStart }) => {
    const name = FIELD_NAMES.get(((nameEnd - nameStart) << 8) | (bytes[nameStart] ?? 0));
    if (name === undefined || type !== name.type) return;
    for (let index = 1; index < name.bytes.length; index++) {
      if (name.bytes[index] !== bytes[nameStart + index]) return;
    }
    fields[name.field] = valueStart;
  });
  return fields;
}

const FIELD_NAMES: ReadonlyMap<
  number,
  { readonly field: keyof EventFields; readonly type: number; readonly bytes: Buffer }
> = new Map(
  (
    [
      ["_id", "id", 0x03],
      ["operationType", "operationType", 0x02],
      ["clusterTime", "clusterTime", 0x11],
      ["wallTime", "wallTime", 0x09],
      ["fullDocument", "fullDocument", 0x03],
      ["ns", "ns", 0x03],
      ["to", "to", 0x03],
      ["documentKey", "documentKey", 0x03],
      ["lsid", "lsid", 0x03],
      ["txnNumber", "txnNumber", 0x12],
    ] as const
  ).map(([name, field, type]) => [(name.length << 8) | name.charCodeAt(0), { field, type, bytes: Buffer.from(name) }]),
);

function documentAt(bytes: Buffer, start: number): Buffer {
  return bytes.subarray(start, start + bytes.readInt32LE(start));
}

function stringAt(bytes: Buffer, start: number): string {
  return bytes.toString("latin1", start + 4, start + 3 + bytes.readInt32LE(start));
}

function invalid(what: string): EmcacheError {
  return new EmcacheError(
    "source_event_invalid",
    `The change stream sent something that is not a change event: ${what}`,
  );
}
