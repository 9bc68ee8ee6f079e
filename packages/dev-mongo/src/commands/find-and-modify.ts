import { type BsonDocument, decodeTyped, isTruthy } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { compileProjection } from "../query/projection.ts";
import { parseSort } from "../query/sort-order.ts";
import { compileUpdate } from "../update/compile-update.ts";
import {
  type CommandContext,
  type CommandDefinition,
  type Reply,
  collectionName,
  documentArgument,
} from "./command.ts";
import { changeDocuments, idOf, settled, upsertDocument } from "./write-document.ts";

async function findAndModify(context: CommandContext): Promise<Reply> {
  const { body, database, server } = context;
  const name = collectionName(context);
  const filter = documentArgument(body, "query");
  const query = { filter, hint: body["hint"], sort: parseSort(body["sort"]), isMulti: false };
  const project = (document: Buffer | null): unknown => {
    const projection = compileProjection(body["fields"]);
    if (document === null) return null;
    return decodeTyped(projection === null ? document : projection(document));
  };
  if (isTruthy(body["remove"])) {
    const collection = server.store.collection(database, name);
    const outcomes =
      collection === null
        ? []
        : await changeDocuments(context, collection, query, () => ({ after: null, operation: "delete" }));
    return { lastErrorObject: { n: outcomes.length }, value: project(outcomes[0]?.before ?? null) };
  }
  if (body["update"] === undefined) throw new CommandError(9, "Either an update or remove=true must be specified");
  const update = compileUpdate(body["update"], filter, body["arrayFilters"]);
  const isUpsert = isTruthy(body["upsert"]);
  const collection = isUpsert ? server.store.ensureCollection(database, name) : server.store.collection(database, name);
  if (collection === null) return { lastErrorObject: { n: 0, updatedExisting: false }, value: null };
  const [outcome] = await changeDocuments(context, collection, query, (document) => ({
    after: update.apply(document, false),
    operation: update.isReplacement ? "replace" : "update",
  }));
  const isNewWanted = isTruthy(body["new"]);
  if (outcome !== undefined) {
    const value = project(isNewWanted ? outcome.after : outcome.before);
    return { lastErrorObject: { n: 1, updatedExisting: true }, value };
  }
  if (!isUpsert) return { lastErrorObject: { n: 0, updatedExisting: false }, value: null };
  const made = await settled(() => upsertDocument(context, collection, filter, update));
  const lastErrorObject: BsonDocument = { n: 1, updatedExisting: false, upserted: idOf(made) };
  return { lastErrorObject, value: isNewWanted ? project(made) : null };
}

export const findAndModifyCommands: Readonly<Record<string, CommandDefinition>> = {
  findAndModify: { run: findAndModify, isWrite: true },
  findandmodify: { run: findAndModify, isWrite: true },
};
