import { type BsonDocument, decodeArgument, isDocument, isTruthy, numberOf } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { parseSort } from "../query/sort-order.ts";
import type { Collection } from "../store/collection.ts";
import { compileUpdate } from "../update/compile-update.ts";
import { type CommandContext, type CommandDefinition, type Reply, collectionName } from "./command.ts";
import { changeDocuments, idOf, insertDocument, settled, upsertDocument } from "./write-document.ts";

/** What a statement did. */
export interface StatementResult {
  readonly n: number;
  readonly nModified: number;
  /** `_id` of the document that an upsert made; absent for none. */
  readonly upserted?: unknown;
}

/** Writes one `writeErrors` entry, or throws on what ends the whole command. */
export function writeError(error: unknown, index: number): BsonDocument {
  // A conflict ends the transaction, so it is the command's own error.
  if (!(error instanceof CommandError) || error.labels.length > 0 || error.code === 112) throw error;
  return { index, code: error.code, ...error.details, errmsg: error.message };
}

/** Runs statements in order; with `ordered`, up to the first that fails. */
async function runStatements(
  context: CommandContext,
  statements: readonly Buffer[],
  run: (statement: Buffer, index: number) => Promise<void> | void,
): Promise<BsonDocument[]> {
  const isOrdered = context.body["ordered"] === undefined || isTruthy(context.body["ordered"]);
  const writeErrors: BsonDocument[] = [];
  for (const [index, statement] of statements.entries()) {
    try {
      const done = run(statement, index);
      if (done !== undefined) await done;
    } catch (error) {
      writeErrors.push(writeError(error, index));
      // MongoDB manual, "Transactions": an operation that fails aborts its transaction.
      context.transaction?.abort();
      if (isOrdered) break;
    }
  }
  return writeErrors;
}

async function insert(context: CommandContext): Promise<Reply> {
  const collection = context.server.store.ensureCollection(context.database, collectionName(context));
  let n = 0;
  const writeErrors = await runStatements(context, context.sequences.get("documents") ?? [], async (document) => {
    await settled(() => insertDocument(context, collection, document));
    n++;
  });
  return withErrors({ n }, writeErrors);
}

function withErrors(reply: BsonDocument, writeErrors: readonly BsonDocument[]): BsonDocument {
  return writeErrors.length === 0 ? reply : { ...reply, writeErrors };
}

/** One statement of `update` (`q`, `u`, …) or of `bulkWrite`, in the former's words. */
export async function updateStatement(
  context: CommandContext,
  collectionNamed: string,
  statement: BsonDocument,
): Promise<StatementResult> {
  const { store } = context.server;
  const filter = isDocument(statement["q"]) ? statement["q"] : {};
  const isMulti = isTruthy(statement["multi"]);
  const update = compileUpdate(statement["u"], filter, statement["arrayFilters"]);
  if (isMulti && update.isReplacement)
    throw new CommandError(9, "multi update is not supported for replacement-style update");
  const query = { filter, hint: statement["hint"], sort: parseSort(statement["sort"]), isMulti };
  const isUpsert = isTruthy(statement["upsert"]);
  const collection = isUpsert
    ? store.ensureCollection(context.database, collectionNamed)
    : store.collection(context.database, collectionNamed);
  if (collection === null) return { n: 0, nModified: 0 };
  const operation = update.isReplacement ? "replace" : "update";
  const outcomes = await changeDocuments(context, collection, query, (document) => ({
    after: update.apply(document, false),
    operation,
  }));
  if (outcomes.length > 0 || !isUpsert) {
    return { n: outcomes.length, nModified: outcomes.filter(({ isModified }) => isModified).length };
  }
  const made = await settled(() => upsertDocument(context, collection, filter, update));
  return { n: 1, nModified: 0, upserted: idOf(made) };
}

async function update(context: CommandContext): Promise<Reply> {
  const name = collectionName(context);
  let n = 0;
  let nModified = 0;
  const upserted: BsonDocument[] = [];
  const writeErrors = await runStatements(context, context.sequences.get("updates") ?? [], async (bytes, index) => {
    const result = await updateStatement(context, name, decodeArgument(bytes));
    n += result.n;
    nModified += result.nModified;
    if ("upserted" in result) upserted.push({ index, _id: result.upserted });
  });
  return withErrors({ n, nModified, ...(upserted.length === 0 ? {} : { upserted }) }, writeErrors);
}

/** One statement of `delete` (`q`, `limit`). */
export async function deleteStatement(
  context: CommandContext,
  collection: Collection | null,
  statement: BsonDocument,
): Promise<number> {
  if (collection === null) return 0;
  const filter = isDocument(statement["q"]) ? statement["q"] : {};
  const query = { filter, hint: statement["hint"], isMulti: numberOf(statement["limit"]) !== 1 };
  const outcomes = await changeDocuments(context, collection, query, () => ({ after: null, operation: "delete" }));
  return outcomes.length;
}

async function remove(context: CommandContext): Promise<Reply> {
  const collection = context.server.store.collection(context.database, collectionName(context));
  let n = 0;
  const writeErrors = await runStatements(context, context.sequences.get("deletes") ?? [], async (bytes) => {
    n += await deleteStatement(context, collection, decodeArgument(bytes));
  });
  return withErrors({ n }, writeErrors);
}

export const writeCommands: Readonly<Record<string, CommandDefinition>> = {
  insert: { run: insert, isWrite: true },
  update: { run: update, isWrite: true },
  delete: { run: remove, isWrite: true },
};
