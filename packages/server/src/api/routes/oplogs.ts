import { EmcacheError } from "@emcache/protocol";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { requireHistory } from "../../oplog/log-read.ts";
import { readLog } from "../../oplog/read-log.ts";
import { OplogEntrySchema } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { noteConsumer } from "../consumer-header.ts";
import { requireNamedVersion } from "../named-version.ts";
import { oplogEntriesJson } from "../oplog-json.ts";
import { withStartingPoints } from "../starting-points.ts";
import { EntityNameParams, LIMIT_DEFAULT, OplogRange } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "oplog" | "snapshots" | "consumers">;

/** Entities in one request at most. */
const BATCH_ENTITIES_MAX = 1000;

const RangeQuery = Type.Object(OplogRange);
const BatchBody = Type.Object({
  entities: Type.Array(Type.String({ examples: ["users"] }), {
    minItems: 1,
    maxItems: BATCH_ENTITIES_MAX,
    examples: [["users"]],
  }),
  ...OplogRange,
});

const OplogAnswer = Type.Object({
  entities: Type.Array(Type.String(), { description: "Names of the entities that were read" }),
  log_id: Type.String({ description: "Id of the log; a reader of another log starts from a snapshot" }),
  floor: Type.Integer({ description: "Lowest position that the log still holds" }),
  head: Type.Integer({ description: "Position of the log's last entry" }),
  position: Type.Integer({ description: "Everything up to here was looked at: the next request's `after`" }),
  tag: Type.String({ description: "The next request's `tag`" }),
  has_more: Type.Boolean({ description: "Whether the log goes on after `position`" }),
  entries: Type.Array(OplogEntrySchema, { description: "Ascending by id, of all these entities" }),
});

/**
 * `GET /api/oplogs/{entity}` and `POST /api/oplogs/batch`: the log of one entity or of several, in one order. Both
 * take the same range and give the same answer. Without `after` they begin at the floor; `offset` skips that many
 * entries of these entities from there on.
 */
export function addOplogRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const schema = {
    summary: "What happened to one entity",
    params: EntityNameParams,
    querystring: RangeQuery,
    response: { 200: OplogAnswer },
  };
  app.get("/api/oplogs/:name", { config: { access: "read" }, schema }, async (request, reply) => {
    await answerRange(request, reply, [request.params.name], request.query, dependencies);
    return reply;
  });

  const batchSchema = { summary: "What happened to several entities", body: BatchBody, response: { 200: OplogAnswer } };
  app.post("/api/oplogs/batch", { config: { access: "read" }, schema: batchSchema }, async (request, reply) => {
    await answerRange(request, reply, request.body.entities, request.body, dependencies);
    return reply;
  });
}

async function answerRange(
  request: FastifyRequest,
  reply: FastifyReply,
  entityNames: readonly string[],
  range: Static<typeof RangeQuery>,
  { registry, oplog, snapshots, consumers }: Dependencies,
): Promise<void> {
  const names = versionNames(entityNames, visibleTo(request, registry));
  const versions = [...names].map(([id, name]) => ({ id, name }));
  const ids = [...names.keys()];
  if (range.after !== undefined) noteConsumer(request, consumers, { versions: ids, position: range.after });
  const query = {
    versions: ids,
    after: range.after ?? null,
    offset: range.offset ?? 0,
    limit: range.limit ?? LIMIT_DEFAULT,
    signal: clientGoneSignal(reply),
  };
  const read = await withStartingPoints(versions, snapshots, () => readLog(oplog, query));
  const tag = range.after === undefined ? null : (range.tag ?? null);
  requireHistory({ logId: range.log_id ?? null, tag }, read);
  reply.header("emcache-log-id", read.logId).header("emcache-position", read.position).header("emcache-tag", read.tag);
  reply.header("cache-control", "no-store").type("application/json; charset=utf-8");
  const head = JSON.stringify({
    entities: [...new Set(entityNames)],
    log_id: read.logId,
    floor: read.floor,
    head: read.head,
    position: read.position,
    tag: read.tag,
    has_more: read.position < read.head,
  });
  reply.send(`${head.slice(0, -1)},"entries":${oplogEntriesJson(read.rows, names)}}`);
}

/** The version of each name. @throws EmcacheError `entity_not_found` naming every unknown one */
function versionNames(entityNames: readonly string[], registry: Dependencies["registry"]): Map<number, string> {
  const names = new Map<number, string>();
  const mistakes: string[] = [];
  for (const [index, name] of entityNames.entries()) {
    try {
      names.set(requireNamedVersion(registry, name).entity.id, name);
    } catch (error) {
      if (!(error instanceof EmcacheError) || error.code !== "entity_not_found" || entityNames.length === 1)
        throw error;
      mistakes.push(`entities[${index}]: ${error.message}`);
    }
  }
  if (mistakes.length > 0) throw new EmcacheError("entity_not_found", mistakes.join("\n"), { errors: mistakes });
  return names;
}
