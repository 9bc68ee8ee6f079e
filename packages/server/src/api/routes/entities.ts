import { EmcacheError } from "@emcache/protocol";
import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { DoneSchema, EntityStatusSchema } from "../answer-schemas.ts";
import type { ApiDependencies, EntityVersions } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { type EntityStatus, entityStatus } from "../entity-status.ts";
import { entityNotFound, requireNamedVersion } from "../named-version.ts";
import { EntityDefinitionSchema, EntityNameParams } from "../schemas.ts";
import { versionFacts } from "../version-facts.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<
  ApiDependencies,
  "registry" | "caches" | "captures" | "copies" | "rejects" | "sourceNames" | "validateEntity"
>;

const READ = { access: "read" } as const;
const WRITE = { access: "write" } as const;

/** Shown rejects at most. */
const REJECTS_MAX = 1000;
const RejectsQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: REJECTS_MAX, default: 100 })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: REJECTS_MAX, default: 0 })),
});

const RejectSchema = Type.Object({
  doc_id: Type.String(),
  column: Type.Union([Type.String(), Type.Null()]),
  reason: Type.String(),
  sample: Type.String(),
  seen_count: Type.Integer(),
  last_seen_at: Type.String({ description: "RFC 3339, UTC" }),
});

/** `/api/entities`: create, list, look at, change, delete. Reads are answered from memory. */
export function addEntityRoutes(app: ApiInstance, dependencies: Dependencies): void {
  addReadRoutes(app, dependencies);
  addWriteRoutes(app, dependencies);
}

function addReadRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { rejects } = dependencies;
  const listSchema = {
    summary: "All entities, each with its state",
    response: { 200: Type.Array(EntityStatusSchema) },
  };
  app.get("/api/entities", { config: READ, schema: listSchema }, async (request) => {
    const registry = visibleTo(request, dependencies.registry);
    const names = [...new Set(registry.list().map(({ entity }) => entity.name))].sort();
    const versions = names.map((name) => registry.get(name)).filter((found) => found !== null);
    return statusesOf(versions, { ...dependencies, registry });
  });

  const schema = {
    summary: "One entity with its state",
    params: EntityNameParams,
    response: { 200: EntityStatusSchema },
  };
  app.get("/api/entities/:name", { config: READ, schema }, async (request) =>
    statusOf(request.params.name, seenBy(request, dependencies)),
  );

  const rejectsSchema = {
    summary:
      "Values and documents that could not be mapped, the last seen first. The header emcache-total has the number of all; up to 1000 are kept one by one",
    params: EntityNameParams,
    querystring: RejectsQuery,
    response: { 200: Type.Array(RejectSchema) },
  };
  app.get("/api/entities/:name/rejects", { config: READ, schema: rejectsSchema }, async (request, reply) => {
    const { params, query } = request;
    const { id } = requireNamedVersion(visibleTo(request, dependencies.registry), params.name).entity;
    const [found, totals] = await Promise.all([
      rejects.list(id, query.limit ?? 100, query.offset ?? 0),
      rejects.count([id]),
    ]);
    reply.header("emcache-total", totals.get(id) ?? 0);
    return found.map(({ docId, seenCount, lastSeenAt, ...reject }) => ({
      doc_id: docId,
      column: reject.column,
      reason: reject.reason,
      sample: reject.sample,
      seen_count: seenCount,
      last_seen_at: lastSeenAt,
    }));
  });
}

function addWriteRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { rejects, sourceNames, validateEntity } = dependencies;
  // The body is checked by validateEntity, which knows more than a schema can say; the schema is documentation.
  const attached = { config: WRITE, attachValidation: true };

  const createSchema = {
    summary: "Creates an entity; its copy begins at once",
    body: EntityDefinitionSchema,
    response: { 201: EntityStatusSchema },
  };
  app.post("/api/entities", { ...attached, schema: createSchema }, async (request, reply) => {
    const seen = seenBy(request, dependencies);
    const definition = validateEntity(request.body, { sourceNames });
    await seen.registry.create(definition);
    reply.code(201).header("location", `/api/entities/${definition.name}`);
    return statusOf(definition.name, seen);
  });

  const putSchema = {
    summary: "Changes an entity: a new version is copied beside the served one, and replaces it once it is whole",
    params: EntityNameParams,
    body: EntityDefinitionSchema,
    response: { 200: EntityStatusSchema },
  };
  app.put("/api/entities/:name", { ...attached, schema: putSchema }, async (request) => {
    const { name } = request.params;
    const seen = seenBy(request, dependencies);
    requireNamedVersion(seen.registry, name);
    const definition = validateEntity(withName(request.body, name), { sourceNames });
    await seen.registry.update(name, definition);
    return statusOf(name, seen);
  });

  const deleteSchema = {
    summary: "Deletes an entity with its caches and snapshots",
    params: EntityNameParams,
    response: { 200: DoneSchema },
  };
  app.delete("/api/entities/:name", { config: WRITE, schema: deleteSchema }, async (request) => {
    const { params } = request;
    const existed = await visibleTo(request, dependencies.registry).delete(params.name);
    if (!existed) throw entityNotFound(params.name);
    return { message: "Entity deleted successfully", name: params.name };
  });

  const clearSchema = {
    summary: "Forgets the rejects that were seen; what is still wrong is told again when its document changes",
    params: EntityNameParams,
    response: { 200: DoneSchema },
  };
  app.delete("/api/entities/:name/rejects", { config: WRITE, schema: clearSchema }, async (request) => {
    const { params } = request;
    await rejects.clear(requireNamedVersion(visibleTo(request, dependencies.registry), params.name).entity.id);
    return { message: "Rejects cleared", name: params.name };
  });
}

/** The body with the path's name where it has none. @throws EmcacheError `entity_invalid` where it has another one */
function withName(body: unknown, name: string): unknown {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return body;
  if (!("name" in body)) return { ...body, name };
  if (body.name === name) return body;
  const mistake = `name: is not the entity in the path; expected ${JSON.stringify(name)} (entities can't be renamed)`;
  throw new EmcacheError("entity_invalid", mistake, { errors: [mistake] });
}

/** What the routes answer from, with the entities that the sender of the request may see. */
function seenBy(request: FastifyRequest, dependencies: Dependencies): Dependencies {
  return { ...dependencies, registry: visibleTo(request, dependencies.registry) };
}

async function statusOf(name: string, dependencies: Dependencies): Promise<EntityStatus> {
  const versions = dependencies.registry.get(name);
  const [status] = versions === null ? [] : await statusesOf([versions], dependencies);
  if (status === undefined) throw entityNotFound(name);
  return status;
}

async function statusesOf(entities: readonly EntityVersions[], dependencies: Dependencies): Promise<EntityStatus[]> {
  const ids = entities
    .flatMap(({ live, pending }) => [live, pending])
    .flatMap((found) => (found === null ? [] : [found.entity.id]));
  const facts = await versionFacts(dependencies, ids);
  return entities.map((versions) => entityStatus(versions, dependencies, facts)).filter((status) => status !== null);
}
