import { decodeTyped } from "../bson/codec.ts";
import { keyOfValue } from "../bson/key-string.ts";
import { CommandError } from "../command-error.ts";
import { valuesAt } from "../query/field-path.ts";
import {
  type CommandContext,
  type CommandDefinition,
  type Reply,
  collectionName,
  documentArgument,
  numberArgument,
} from "./command.ts";
import { readDocuments, viewOf } from "./read-documents.ts";

function count(context: CommandContext): Reply {
  const { body, database, server } = context;
  const collection = server.store.collection(database, collectionName(context));
  if (collection === null) return { n: 0 };
  const filter = documentArgument(body, "query");
  const skip = numberArgument(body, "skip", 0);
  const limit = Math.abs(numberArgument(body, "limit", 0));
  const isWhole = Object.keys(filter).length === 0 && viewOf(context, collection).all() === null;
  let n = 0;
  if (isWhole) n = Math.max(collection.size - skip, 0);
  else for (const _document of readDocuments(context, collection, { filter, skip, hint: body["hint"] })) n++;
  return { n: limit === 0 ? n : Math.min(n, limit) };
}

function distinct(context: CommandContext): Reply {
  const { body, database, server } = context;
  const collection = server.store.collection(database, collectionName(context));
  const key = body["key"];
  if (typeof key !== "string") throw new CommandError(14, "BSON field 'distinct.key' must be of type string");
  const values = new Map<string, unknown>();
  if (collection !== null) {
    for (const document of readDocuments(context, collection, { filter: documentArgument(body, "query") })) {
      for (const value of valuesAt(decodeTyped(document), key)) {
        const elements: unknown[] = Array.isArray(value) ? value : [value];
        for (const element of elements) values.set(keyOfValue(element), element);
      }
    }
  }
  return { values: [...values].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value) };
}

export const countCommands: Readonly<Record<string, CommandDefinition>> = {
  count: { run: count },
  distinct: { run: distinct },
};
