import { ObjectId } from "bson";
import { type BsonDocument, decodeTyped, encode } from "../bson/codec.ts";
import { documentOfElements, bodyOf, idElementOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import type { SortField } from "../query/sort-order.ts";
import { HeldByTransaction, holderOf } from "../sessions/transaction.ts";
import type { Collection } from "../store/collection.ts";
import { assertIdAllowed, keyOfDocument } from "../store/document-key.ts";
import type { Change } from "../store/store.ts";
import { type CompiledUpdate, upsertSeed, withIdFirst } from "../update/compile-update.ts";
import type { CommandContext } from "./command.ts";
import { readDocuments, viewOf } from "./read-documents.ts";

/** Runs a write, again after a transaction that holds its document has ended. */
export async function settled<T>(attempt: () => T): Promise<T> {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!(error instanceof HeldByTransaction)) throw error;
      await error.transaction.ended;
    }
  }
}

/** @throws CommandError 11000, HeldByTransaction, and what a transaction's write throws */
export function writeChange(context: CommandContext, change: Change): void {
  const { collection, key, after } = change;
  const holder = holderOf(collection, key);
  if (context.transaction === null && holder !== null) throw new HeldByTransaction(holder);
  if (after !== null) assertUnique(collection, key, after);
  if (context.transaction === null) context.server.store.apply(change);
  else context.transaction.write(change);
}

function assertUnique(collection: Collection, key: string, document: Buffer): void {
  for (const { name, key: pattern, unique } of collection.indexes.values()) {
    if (unique?.conflictsWith(key, document) === true) throw duplicateKey(collection, name, pattern, document);
  }
}

function duplicateKey(collection: Collection, index: string, pattern: BsonDocument, document: Buffer): CommandError {
  const values = decodeTyped(document);
  const keyValue = Object.fromEntries(Object.keys(pattern).map((field) => [field, values[field] ?? null]));
  const message = `E11000 duplicate key error collection: ${collection.namespace} index: ${index} dup key: ${JSON.stringify(keyValue)}`;
  return new CommandError(11000, message, { details: { keyPattern: pattern, keyValue } });
}

/** Inserts a document, which gets an `_id` where it has none. */
export function insertDocument(context: CommandContext, collection: Collection, given: Buffer): void {
  const hasId = idElementOf(given) !== null;
  const document = hasId
    ? withIdFirst(given)
    : documentOfElements([bodyOf(encode({ _id: new ObjectId() })), bodyOf(given)]);
  if (document.length > 16 * 1024 * 1024) throw new CommandError(10334, "the document is larger than 16 MiB");
  assertIdAllowed(document);
  const key = keyOfDocument(document);
  const holder = holderOf(collection, key);
  if (holder !== null && context.transaction === null) throw new HeldByTransaction(holder);
  if (viewOf(context, collection).get(key) !== null) throw duplicateKey(collection, "_id_", { _id: 1 }, document);
  writeChange(context, { collection, key, operation: "insert", before: null, after: document });
}

/** Which documents a statement means. */
export interface StatementQuery {
  readonly filter: BsonDocument;
  readonly hint?: unknown;
  readonly sort?: readonly SortField[];
  readonly isMulti: boolean;
}

/** What became of one document. */
export interface DocumentOutcome {
  readonly before: Buffer | null;
  readonly after: Buffer | null;
  readonly isModified: boolean;
}

/** The first document that matches, with its key; null for none. */
function firstMatch(context: CommandContext, collection: Collection, query: StatementQuery): Buffer | null {
  const [document] = readDocuments(context, collection, { ...query, limit: 1 });
  return document ?? null;
}

/** Changes the first document that matches, or each one, by `change`; null for a deletion. */
export async function changeDocuments(
  context: CommandContext,
  collection: Collection,
  query: StatementQuery,
  change: (document: Buffer) => { readonly after: Buffer | null; readonly operation: Change["operation"] },
): Promise<DocumentOutcome[]> {
  const changeOne = (document: Buffer): DocumentOutcome => {
    const { after, operation } = change(document);
    const isModified = after === null || !after.equals(document);
    const key = keyOfDocument(document);
    if (isModified) writeChange(context, { collection, key, operation, before: document, after });
    else if (context.transaction === null && holderOf(collection, key) !== null) {
      throw new HeldByTransaction(holderOf(collection, key) as NonNullable<ReturnType<typeof holderOf>>);
    }
    return { before: document, after, isModified };
  };
  if (!query.isMulti) {
    const outcome = await settled(() => {
      const document = firstMatch(context, collection, query);
      return document === null ? null : changeOne(document);
    });
    return outcome === null ? [] : [outcome];
  }
  const outcomes: DocumentOutcome[] = [];
  // All of them first: what is changed must not be met again.
  const documents = Array.from(readDocuments(context, collection, query));
  for (const document of documents) {
    const key = keyOfDocument(document);
    const outcome = await settled(() => {
      const present = viewOf(context, collection).get(key);
      return present === null ? null : changeOne(present);
    });
    if (outcome !== null) outcomes.push(outcome);
  }
  return outcomes;
}

/** Inserts what an upsert that matched nothing makes of its filter and its update; returns the new document. */
export function upsertDocument(
  context: CommandContext,
  collection: Collection,
  filter: BsonDocument,
  update: CompiledUpdate,
): Buffer {
  const seed = upsertSeed(filter);
  const base = update.isReplacement ? ("_id" in seed ? { _id: seed["_id"] } : {}) : seed;
  const made = update.apply(encode(base), true);
  const document =
    idElementOf(made) === null ? documentOfElements([bodyOf(encode({ _id: new ObjectId() })), bodyOf(made)]) : made;
  insertDocument(context, collection, document);
  return document;
}

/** The `_id` of a document, decoded. */
export function idOf(document: Buffer): unknown {
  return decodeTyped(document)["_id"];
}
