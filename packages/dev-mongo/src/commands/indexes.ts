import { type BsonDocument, encode, isDocument, isTruthy } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { DocumentCursor } from "../cursors/document-cursor.ts";
import type { Collection } from "../store/collection.ts";
import { namespaceOf } from "../store/store.ts";
import { UniqueIndex } from "../store/unique-index.ts";
import { type CommandContext, type CommandDefinition, type Reply, collectionName } from "./command.ts";
import { openingReply } from "./cursor-reply.ts";

function createIndexes(context: CommandContext): Reply {
  const { body, database, server } = context;
  const name = collectionName(context);
  const createdCollectionAutomatically = server.store.collection(database, name) === null;
  const collection = server.store.ensureCollection(database, name);
  const numIndexesBefore = collection.indexes.size + 1;
  const definitions = Array.isArray(body["indexes"]) ? (body["indexes"] as unknown[]) : [];
  const made: BsonDocument[] = [];
  for (const definition of definitions) if (addIndex(collection, definition)) made.push(definition as BsonDocument);
  if (made.length > 0) server.store.record("createIndexes", namespaceOf(collection), { indexes: made });
  return { numIndexesBefore, numIndexesAfter: collection.indexes.size + 1, createdCollectionAutomatically };
}

/** @returns whether it is new. @throws CommandError 85, 11000 */
function addIndex(collection: Collection, definition: unknown): boolean {
  if (!isDocument(definition) || !isDocument(definition["key"]) || typeof definition["name"] !== "string") {
    throw new CommandError(9, "an index needs 'key' and 'name'");
  }
  const { key, name } = definition;
  if (name === "_id_" || (Object.keys(key).length === 1 && "_id" in key)) return false;
  const present = collection.indexes.get(name);
  if (present !== undefined) {
    if (encode(present.key).equals(encode(key))) return false;
    throw new CommandError(85, `An existing index has the same name as the requested index: ${name}`);
  }
  const unique = isTruthy(definition["unique"])
    ? new UniqueIndex(Object.keys(key), isTruthy(definition["sparse"]))
    : null;
  if (unique !== null) {
    for (const document of collection.inNaturalOrder()) {
      if (unique.conflictsWith(document.key, document.bytes)) {
        throw new CommandError(11000, `E11000 duplicate key error collection: ${collection.namespace} index: ${name}`);
      }
      unique.replace(document.key, null, document.bytes);
    }
  }
  collection.indexes.set(name, { name, key, given: { v: 2, ...definition }, unique });
  return true;
}

function listIndexes(context: CommandContext): Reply {
  const { database, server } = context;
  const name = collectionName(context);
  const collection = server.store.collection(database, name);
  if (collection === null) throw new CommandError(26, `ns does not exist: ${database}.${name}`);
  const definitions = [
    { v: 2, key: { _id: 1 }, name: "_id_" },
    ...[...collection.indexes.values()].map(({ given }) => given),
  ];
  const cursor = new DocumentCursor(collection.namespace, definitions.map(encode));
  return openingReply(context, cursor, cursor.next({ documentsMax: definitions.length + 1 }), false);
}

function dropIndexes(context: CommandContext): Reply {
  const { body, database, server } = context;
  const collection = server.store.collection(database, collectionName(context));
  if (collection === null) throw new CommandError(26, "ns not found");
  const nIndexesWas = collection.indexes.size + 1;
  const wanted = body["index"];
  const names =
    wanted === "*" ? [...collection.indexes.keys()] : Array.isArray(wanted) ? wanted.map(String) : [String(wanted)];
  const dropped = names.filter((name) => {
    if (!collection.indexes.has(name)) throw new CommandError(27, `index not found with name [${name}]`);
    return collection.indexes.delete(name);
  });
  if (dropped.length > 0) {
    server.store.record("dropIndexes", namespaceOf(collection), { indexes: dropped.map((name) => ({ name })) });
  }
  return { nIndexesWas };
}

export const indexCommands: Readonly<Record<string, CommandDefinition>> = {
  createIndexes: { run: createIndexes, isWrite: true },
  listIndexes: { run: listIndexes },
  dropIndexes: { run: dropIndexes, isWrite: true },
};
