import { ChangeStreamCursor } from "../change-stream/change-stream-cursor.ts";
import { parseStreamOptions } from "../change-stream/stream-options.ts";
import { compileStreamPipeline } from "../change-stream/stream-pipeline.ts";
import type { StreamScope } from "../change-stream/stream-scope.ts";
import { type BsonDocument, decodeTyped, encode, isDocument, numberOf } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { DocumentCursor } from "../cursors/document-cursor.ts";
import { promotedDocument } from "../query/query-operators.ts";
import { runPipeline } from "../query/run-pipeline.ts";
import { compileProjection } from "../query/projection.ts";
import { type SortField, parseSort } from "../query/sort-order.ts";
import {
  type CommandContext,
  type CommandDefinition,
  type Reply,
  documentArgument,
  numberArgument,
} from "./command.ts";
import { FIRST_BATCH_DOCUMENTS, openingReply } from "./cursor-reply.ts";
import { servedFrom } from "./find.ts";
import { readDocuments } from "./read-documents.ts";

async function aggregate(context: CommandContext): Promise<Reply> {
  const { body, database } = context;
  const pipeline = parsePipeline(body["pipeline"]);
  const target = body["aggregate"];
  const collection = typeof target === "string" ? target : null;
  const namespace = `${database}.${collection ?? "$cmd.aggregate"}`;
  const [first] = pipeline;
  if (first !== undefined && "$changeStream" in first) return openStream(context, collection, namespace, pipeline);
  const batchSize = numberArgument(documentArgument(body, "cursor"), "batchSize", FIRST_BATCH_DOCUMENTS);
  const cursor = new DocumentCursor(
    namespace,
    servedFrom(context.server.faults.scanMode, run(context, collection, pipeline)),
  );
  return openingReply(context, cursor, cursor.next({ documentsMax: batchSize }), false);
}

function parsePipeline(pipeline: unknown): BsonDocument[] {
  if (!Array.isArray(pipeline)) throw new CommandError(14, "'pipeline' must be an array");
  return pipeline.map((stage: unknown) => {
    if (isDocument(stage) && Object.keys(stage).length === 1) return stage;
    throw new CommandError(40323, "A pipeline stage specification object must contain exactly one field.");
  });
}

async function openStream(
  context: CommandContext,
  collection: string | null,
  namespace: string,
  pipeline: readonly BsonDocument[],
): Promise<Reply> {
  const { server, body, database, signal } = context;
  if (server.topology === "standalone") {
    throw new CommandError(40_573, "The $changeStream stage is only supported on replica sets");
  }
  if (context.transaction !== null) {
    throw new CommandError(263, "Stage $changeStream is not allowed within a multi-document transaction");
  }
  const options = parseStreamOptions(pipeline[0]?.["$changeStream"]);
  if (options.isClusterWide && (database !== "admin" || collection !== null)) {
    throw new CommandError(
      72,
      "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database",
    );
  }
  const scope: StreamScope = options.isClusterWide
    ? { kind: "cluster" }
    : collection === null
      ? { kind: "database", database }
      : { kind: "collection", database, collection };
  const stream = { namespace, scope, options, pipeline: compileStreamPipeline(pipeline.slice(1), server.wireVersion) };
  const environment = {
    store: server.store,
    visibleEnd: () => server.visibleEnd(),
    visibleTime: () => server.visibleTime(),
    eventBytesMax: server.eventBytesMax,
    fragmentFault: () => server.faults.fragments,
  };
  const cursor = new ChangeStreamCursor(environment, stream);
  const batchSize = numberArgument(documentArgument(body, "cursor"), "batchSize", FIRST_BATCH_DOCUMENTS);
  const batch = await cursor.next({ documentsMax: batchSize, waitMs: 0, signal });
  return openingReply(context, cursor, batch, false);
}

/** Runs the stages at the beginning that keep documents whole on their bytes, and the rest by mingo. */
function run(context: CommandContext, name: string | null, pipeline: readonly BsonDocument[]): Iterable<Buffer> {
  const { server, database } = context;
  const collection = name === null ? null : server.store.collection(database, name);
  const rest = [...pipeline];
  const leading = takeLeading(rest);
  let documents = collection === null ? [] : readDocuments(context, collection, leading);
  const [projecting] = rest;
  if (rest.length === 1 && projecting !== undefined && "$project" in projecting) {
    const projection = isPlainProjection(projecting["$project"]) ? compileProjection(projecting["$project"]) : null;
    if (projection !== null) return [...documents].map(projection);
  }
  if (rest.length === 0) return documents;
  for (const stage of rest) {
    if ("$out" in stage || "$merge" in stage) throw new CommandError(2, "dev-mongo does not serve $out and $merge");
  }
  documents = [...documents];
  const promoted = [...documents].map((document) => promotedDocument(decodeTyped(document)));
  return runPipeline(promoted, rest, (other) => promotedCollection(context, other)).map(encode);
}

function promotedCollection(context: CommandContext, name: string): BsonDocument[] {
  const collection = context.server.store.collection(context.database, name);
  if (collection === null) return [];
  return [...readDocuments(context, collection, { filter: {} })].map((document) =>
    promotedDocument(decodeTyped(document)),
  );
}

/** Removes `$match`, `$sort`, `$skip` and `$limit` from the beginning, in that order, each at most once. */
function takeLeading(stages: BsonDocument[]): { filter: BsonDocument; sort: SortField[]; skip: number; limit: number } {
  const leading = { filter: {} as BsonDocument, sort: [] as SortField[], skip: 0, limit: 0 };
  const take = (name: string): unknown => {
    const [stage] = stages;
    if (stage === undefined || !(name in stage)) return undefined;
    stages.shift();
    return stage[name];
  };
  const match = take("$match");
  if (isDocument(match)) leading.filter = match;
  const sort = take("$sort");
  if (sort !== undefined) leading.sort = parseSort(sort);
  leading.skip = numberOf(take("$skip")) ?? 0;
  leading.limit = numberOf(take("$limit")) ?? 0;
  return leading;
}

/** Whether it only names top-level fields, without computing any. */
function isPlainProjection(projection: unknown): boolean {
  if (!isDocument(projection)) return false;
  return Object.entries(projection).every(
    ([path, value]) => !path.includes(".") && (typeof value === "boolean" || numberOf(value) !== null),
  );
}

export const aggregateCommands: Readonly<Record<string, CommandDefinition>> = { aggregate: { run: aggregate } };
