import { isDocument, isTruthy } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { DocumentCursor } from "../cursors/document-cursor.ts";
import { TailableCursor } from "../cursors/tailable-cursor.ts";
import type { ScanMode } from "../faults/fault-injector.ts";
import { compileFilter } from "../query/compile-filter.ts";
import { compileProjection } from "../query/projection.ts";
import { parseSort } from "../query/sort-order.ts";
import type { CommandDefinition, CommandContext, Reply } from "./command.ts";
import { collectionName, documentArgument, numberArgument } from "./command.ts";
import { FIRST_BATCH_DOCUMENTS, cursorReply, openingReply } from "./cursor-reply.ts";
import { readDocuments } from "./read-documents.ts";

function find(context: CommandContext): Reply | Promise<Reply> {
  const { body, database, server } = context;
  const name = collectionName(context);
  if (isTruthy(body["tailable"])) return tail(context, name);
  const namespace = `${database}.${name}`;
  const collection = server.store.collection(database, name);
  const limit = numberArgument(body, "limit", 0);
  const batchSize = numberArgument(body, "batchSize", FIRST_BATCH_DOCUMENTS);
  const min = isDocument(body["min"]) ? documentArgument(body, "min") : undefined;
  const max = isDocument(body["max"]) ? documentArgument(body, "max") : undefined;
  const query = {
    filter: documentArgument(body, "filter"),
    sort: parseSort(body["sort"]),
    min,
    max,
    hint: body["hint"],
    skip: numberArgument(body, "skip", 0),
    limit: Math.abs(limit),
  };
  const documents = collection === null ? [] : readDocuments(context, collection, query);
  const projection = compileProjection(body["projection"]);
  const projected = projection === null ? documents : mapped(documents, projection);
  const cursor = new DocumentCursor(namespace, servedFrom(server.faults.scanMode, projected));
  const isSingle = isTruthy(body["singleBatch"]) || limit < 0;
  const batch = cursor.next({ documentsMax: batchSize });
  // A limit that the first batch has reached leaves nothing to ask for.
  const isWhole = limit > 0 && batch.documents.length >= limit;
  return openingReply(context, cursor, batch, isSingle || isWhole);
}

/** A tailable cursor's first reply never waits, and never is its last. */
async function tail(context: CommandContext, name: string): Promise<Reply> {
  const { body, database, server, signal } = context;
  const collection = server.store.collection(database, name);
  const namespace = `${database}.${name}`;
  if (collection === null) return cursorReply("firstBatch", { documents: [], token: null }, 0n, namespace);
  if (collection.options.cap === null) {
    throw new CommandError(
      2,
      `error processing query: ns=${namespace}: tailable cursor requested on non capped collection`,
    );
  }
  const accepts = compileFilter(documentArgument(body, "filter")) ?? (() => true);
  const cursor = new TailableCursor(collection, server.store.oplog, {
    isAwaiting: isTruthy(body["awaitData"]),
    accepts,
  });
  const documentsMax = numberArgument(body, "batchSize", FIRST_BATCH_DOCUMENTS);
  const batch = await cursor.next({ documentsMax, waitMs: 0, signal });
  return openingReply(context, cursor, batch, false);
}

function* mapped(documents: Iterable<Buffer>, projection: (document: Buffer) => Buffer): Generator<Buffer> {
  for (const document of documents) yield projection(document);
}

/** The scan as the fault injector wants it to be served. */
export function servedFrom(mode: ScanMode, documents: Iterable<Buffer>): Iterable<Buffer> {
  switch (mode.kind) {
    case "live":
      return documents;
    case "snapshot":
      return [...documents];
    case "readAhead":
      return readAhead(documents, mode.documents);
  }
}

function* readAhead(documents: Iterable<Buffer>, count: number): Generator<Buffer> {
  const queue: Buffer[] = [];
  for (const document of documents) {
    queue.push(document);
    if (queue.length > count) {
      const first = queue.shift();
      if (first !== undefined) yield first;
    }
  }
  yield* queue;
}

export const findCommands: Readonly<Record<string, CommandDefinition>> = { find: { run: find } };
