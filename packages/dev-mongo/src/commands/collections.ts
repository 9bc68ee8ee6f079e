import { Binary } from "bson";
import { type BsonDocument, encode, isDocument, isTruthy } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { DocumentCursor } from "../cursors/document-cursor.ts";
import { compileTyped } from "../query/compile-filter.ts";
import type { Collection } from "../store/collection.ts";
import { namespaceOf } from "../store/store.ts";
import {
  type CommandContext,
  type CommandDefinition,
  type Reply,
  collectionName,
  documentArgument,
  numberArgument,
} from "./command.ts";
import { openingReply } from "./cursor-reply.ts";

/** Options of `create` that change nothing here, or that are part of every command. */
function givenOptions(body: BsonDocument): BsonDocument {
  const { capped, size, max, validator, collation, changeStreamPreAndPostImages, expireAfterSeconds } = body;
  const given = { capped, size, max, validator, collation, changeStreamPreAndPostImages, expireAfterSeconds };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function wantsImages(body: BsonDocument): boolean | null {
  const setting = body["changeStreamPreAndPostImages"];
  return isDocument(setting) ? isTruthy(setting["enabled"]) : null;
}

function create(context: CommandContext): Reply {
  const { body, database, server } = context;
  const name = collectionName(context);
  for (const kind of ["viewOn", "timeseries"]) {
    if (body[kind] !== undefined) throw new CommandError(20, `dev-mongo does not serve collections with '${kind}'`);
  }
  const cap = isTruthy(body["capped"])
    ? { bytesMax: numberArgument(body, "size", 0), documentsMax: numberArgument(body, "max", 0) || Infinity }
    : null;
  if (cap !== null && cap.bytesMax <= 0)
    throw new CommandError(72, "the 'size' field is required when 'capped' is true");
  server.store.createCollection(database, name, {
    hasImages: wantsImages(body) ?? false,
    cap,
    given: givenOptions(body),
  });
  return {};
}

function existing(context: CommandContext): Collection {
  const name = collectionName(context);
  const collection = context.server.store.collection(context.database, name);
  if (collection === null) throw new CommandError(26, `ns does not exist: ${context.database}.${name}`);
  return collection;
}

function collMod(context: CommandContext): Reply {
  const collection = existing(context);
  const hasImages = wantsImages(context.body);
  if (hasImages !== null) {
    collection.options.hasImages = hasImages;
    collection.options.given = { ...collection.options.given, changeStreamPreAndPostImages: { enabled: hasImages } };
  }
  context.server.store.record("modify", namespaceOf(collection), {
    changeStreamPreAndPostImages: { enabled: hasImages },
  });
  return {};
}

function drop(context: CommandContext): Reply {
  const { database, server } = context;
  const collection = server.store.collection(database, collectionName(context));
  // Since MongoDB 7 dropping what isn't there succeeds.
  if (collection === null) return {};
  server.store.dropCollection(collection);
  return { nIndexesWas: 1 + collection.indexes.size, ns: collection.namespace };
}

function dropDatabase({ server, database }: CommandContext): Reply {
  server.store.dropDatabase(database);
  return { dropped: database };
}

function renameCollection({ body, server }: CommandContext): Reply {
  const from = splitNamespace(body["renameCollection"]);
  const to = splitNamespace(body["to"]);
  const collection = server.store.collection(from.database, from.collection);
  if (collection === null)
    throw new CommandError(26, `Source collection ${from.database}.${from.collection} does not exist`);
  server.store.renameCollection(collection, to.database, to.collection, isTruthy(body["dropTarget"]));
  return {};
}

function splitNamespace(namespace: unknown): { readonly database: string; readonly collection: string } {
  const text = typeof namespace === "string" ? namespace : "";
  const dot = text.indexOf(".");
  if (dot <= 0) throw new CommandError(73, `Invalid namespace specified '${text}'`);
  return { database: text.slice(0, dot), collection: text.slice(dot + 1) };
}

function listCollections(context: CommandContext): Reply {
  const { body, database, server } = context;
  const matches = compileTyped(documentArgument(body, "filter"));
  const isNameOnly = isTruthy(body["nameOnly"]);
  const descriptions = server.store
    .collectionsOf(database)
    .map((collection) => ({
      name: collection.name,
      type: "collection",
      ...(isNameOnly
        ? {}
        : {
            options: collection.options.given,
            info: { readOnly: false, uuid: new Binary(collection.uuid, 4) },
            idIndex: { v: 2, key: { _id: 1 }, name: "_id_" },
          }),
    }))
    .filter((description) => matches === null || matches(description))
    .map((description) => encode(description));
  const cursor = new DocumentCursor(`${database}.$cmd.listCollections`, descriptions);
  const batchSize = numberArgument(documentArgument(body, "cursor"), "batchSize", descriptions.length + 1);
  return openingReply(context, cursor, cursor.next({ documentsMax: batchSize }), false);
}

function listDatabases({ server, body }: CommandContext): Reply {
  const matches = compileTyped(documentArgument(body, "filter"));
  const databases = server.store
    .databases()
    .map((name) => {
      const sizeOnDisk = server.store.collectionsOf(name).reduce((sum, { dataBytes }) => sum + dataBytes, 0);
      return { name, sizeOnDisk, empty: sizeOnDisk === 0 };
    })
    .filter((database) => matches === null || matches(database));
  const totalSize = databases.reduce((sum, { sizeOnDisk }) => sum + sizeOnDisk, 0);
  return { databases, totalSize, totalSizeMb: Math.floor(totalSize / 2 ** 20) };
}

function collStats(context: CommandContext): Reply {
  const { server, database } = context;
  const collection = server.store.collection(database, collectionName(context));
  const count = collection?.size ?? 0;
  const size = collection?.dataBytes ?? 0;
  return {
    ns: `${database}.${collectionName(context)}`,
    count,
    size,
    storageSize: size,
    avgObjSize: count === 0 ? 0 : size / count,
  };
}

function dbStats({ server, database }: CommandContext): Reply {
  const collections = server.store.collectionsOf(database);
  const objects = collections.reduce((sum, { size }) => sum + size, 0);
  const dataSize = collections.reduce((sum, { dataBytes }) => sum + dataBytes, 0);
  return { db: database, collections: collections.length, objects, dataSize, storageSize: dataSize };
}

export const collectionCommands: Readonly<Record<string, CommandDefinition>> = {
  create: { run: create, isWrite: true },
  collMod: { run: collMod, isWrite: true },
  drop: { run: drop, isWrite: true },
  dropDatabase: { run: dropDatabase, isWrite: true },
  renameCollection: { run: renameCollection, isWrite: true },
  listCollections: { run: listCollections },
  listDatabases: { run: listDatabases },
  collStats: { run: collStats },
  dbStats: { run: dbStats },
};
