import { EmcacheError } from "@emcache/protocol";
import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { entityNotFound } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "cachePathOf" | "queries">;

const ROWS_DEFAULT = 1_000;
const ROWS_MAX = 10_000;
/** Of an answer: what a browser shows, and what a process holds several of. */
const BYTES_MAX = 8 * 1024 * 1024;
const SQL_LENGTH_MAX = 100_000;
/** SQLite's own limit is 32,766. */
const PARAMS_MAX = 1_000;

const Parameter = Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]);
const QueryBody = Type.Object({
  sql: Type.String({
    minLength: 1,
    maxLength: SQL_LENGTH_MAX,
    description: "One SELECT over the entity's view",
    examples: ["select count(*) from users"],
  }),
  params: Type.Optional(
    Type.Union([Type.Array(Parameter, { maxItems: PARAMS_MAX }), Type.Record(Type.String(), Parameter)], {
      description: "Values of ?, or by name of :name, @name and $name",
    }),
  ),
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: ROWS_MAX, default: ROWS_DEFAULT, description: "Rows at most" }),
  ),
});
const QueryAnswer = Type.Object({
  columns: Type.Array(Type.String()),
  rows: Type.Array(Type.Array(Type.Unknown()), {
    description: 'Values in the order of `columns`. Integers keep all their digits; a BLOB is {"base64": "…"}',
  }),
  truncated: Type.Boolean({ description: "Whether there are more rows than were wanted, or than fit into 8 MiB" }),
});

/** `POST /api/entities/{name}/query`: a SELECT over the entity's cache in this process. */
export function addQueryRoute(app: ApiInstance, { registry, cachePathOf, queries }: Dependencies): void {
  if (queries === null) return;
  const schema = {
    summary: "Runs one SELECT over the entity's cache, read-only and within limits of rows, bytes, memory and time",
    params: EntityNameParams,
    body: QueryBody,
    response: { 200: QueryAnswer },
  };
  app.post("/api/entities/:name/query", { config: { access: "read" }, schema }, async (request, reply) => {
    const { name } = request.params;
    const { sql, params = [], limit: rowsMax = ROWS_DEFAULT } = request.body;
    const versions = visibleTo(request, registry).get(name);
    if (versions === null) throw entityNotFound(name);
    const path = versions.live === null ? null : cachePathOf(versions.live.entity.id);
    if (path === null) {
      throw new EmcacheError("query_not_ready", `This process has no rows of ${JSON.stringify(name)} yet`);
    }
    const json = await queries.run({ path, sql, params, rowsMax, bytesMax: BYTES_MAX }, clientGoneSignal(reply));
    sendJson(reply, json);
    return reply;
  });
}

/** As it was made in the process that ran the query: it is not parsed again. */
function sendJson(reply: FastifyReply, json: string): void {
  reply.header("cache-control", "no-store").type("application/json; charset=utf-8").send(Buffer.from(json));
}
