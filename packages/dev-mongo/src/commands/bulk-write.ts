import { type BsonDocument, decodeArgument, encode, isDocument, isTruthy, numberOf } from "../bson/codec.ts";
import { findElement, valueOf } from "../bson/raw-document.ts";
import { CommandError } from "../command-error.ts";
import { DocumentCursor } from "../cursors/document-cursor.ts";
import type { CommandContext, CommandDefinition, Reply } from "./command.ts";
import { documentArgument, numberArgument } from "./command.ts";
import { cursorReply } from "./cursor-reply.ts";
import { bodyOf } from "../bson/raw-document.ts";
import { insertDocument, settled } from "./write-document.ts";
import { deleteStatement, updateStatement, writeError } from "./writes.ts";

/** Where an operation of a bulk goes. */
interface Target {
  readonly database: string;
  readonly collection: string;
}

/** What all operations together did. */
const COUNTERS = { nErrors: 0, nInserted: 0, nMatched: 0, nModified: 0, nUpserted: 0, nDeleted: 0 };

/** MongoDB 8's `bulkWrite`: operations on several collections (MongoDB manual, "bulkWrite"). */
async function bulkWrite(context: CommandContext): Promise<Reply> {
  const { body, sequences, server, listener, sessionKey } = context;
  const targets = (sequences.get("nsInfo") ?? []).map((bytes) => targetOf(decodeArgument(bytes)));
  const isOrdered = body["ordered"] === undefined || isTruthy(body["ordered"]);
  const isErrorsOnly = isTruthy(body["errorsOnly"]);
  const counters = { ...COUNTERS };
  const results: Buffer[] = [];
  for (const [idx, operation] of (sequences.get("ops") ?? []).entries()) {
    try {
      const result = await runOperation(context, targets, operation, counters);
      if (!isErrorsOnly) results.push(encode({ ok: 1, idx, ...result }));
    } catch (error) {
      const { index: _index, code, errmsg, ...details } = writeError(error, idx);
      counters.nErrors++;
      results.push(encode({ ok: 0, idx, code, errmsg, ...details, n: 0 }));
      if (isOrdered) break;
    }
  }
  const cursor = new DocumentCursor("admin.$cmd.bulkWrite", results);
  const batchSize = numberArgument(documentArgument(body, "cursor"), "batchSize", results.length + 1);
  const batch = cursor.next({ documentsMax: batchSize });
  const isWhole = batch.documents.length === results.length;
  const id = isWhole ? 0n : server.cursors.add(cursor, listener, sessionKey);
  return Buffer.concat([cursorReply("firstBatch", batch, id, cursor.namespace), bodyOf(encode(counters))]);
}

function targetOf(info: BsonDocument): Target {
  const namespace = String(info["ns"]);
  const dot = namespace.indexOf(".");
  if (dot <= 0) throw new CommandError(73, `Invalid namespace specified '${namespace}'`);
  return { database: namespace.slice(0, dot), collection: namespace.slice(dot + 1) };
}

async function runOperation(
  context: CommandContext,
  targets: readonly Target[],
  bytes: Buffer,
  counters: typeof COUNTERS,
): Promise<BsonDocument> {
  const operation = decodeArgument(bytes);
  const [kind = ""] = Object.keys(operation);
  const target = targets[numberOf(operation[kind]) ?? -1];
  if (target === undefined) throw new CommandError(2, "BulkWrite ops entry has an invalid nsInfo index.");
  const scoped = { ...context, database: target.database };
  const { store } = context.server;
  if (kind === "insert") {
    const element = findElement(bytes, "document");
    if (element === null) throw new CommandError(40414, "BSON field 'bulkWrite.ops.document' is missing");
    const collection = store.ensureCollection(target.database, target.collection);
    await settled(() => insertDocument(scoped, collection, valueOf(bytes, element)));
    counters.nInserted++;
    return { n: 1 };
  }
  const filter = isDocument(operation["filter"]) ? operation["filter"] : {};
  if (kind === "update") {
    const statement = { ...operation, q: filter, u: operation["updateMods"] };
    const result = await updateStatement(scoped, target.collection, statement);
    const isUpserted = "upserted" in result;
    counters.nMatched += isUpserted ? 0 : result.n;
    counters.nModified += result.nModified;
    counters.nUpserted += isUpserted ? 1 : 0;
    return { n: result.n, nModified: result.nModified, ...(isUpserted ? { upserted: { _id: result.upserted } } : {}) };
  }
  if (kind !== "delete") throw new CommandError(9, `Unrecognized operation ${kind} in bulkWrite`);
  const collection = store.collection(target.database, target.collection);
  const limit = isTruthy(operation["multi"]) ? 0 : 1;
  const n = await deleteStatement(scoped, collection, { q: filter, hint: operation["hint"], limit });
  counters.nDeleted += n;
  return { n };
}

export const bulkWriteCommands: Readonly<Record<string, CommandDefinition>> = {
  bulkWrite: { run: bulkWrite, isWrite: true },
};
