import { EmcacheError } from "@emcache/protocol";
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { entityOnly } from "../entity-status.ts";
import { namedVersion, requireNamedVersion } from "../named-version.ts";
import { describeMistakes } from "../request-validator.ts";
import { EntityNameParams } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "sourceNames" | "validateEntity">;

const READ = { access: "read" } as const;
const WRITE = { access: "write" } as const;

/**
 * What the earlier server could read as an entity at all: the kinds of JSON values. Types' names are checked with
 * all else, so that a wrong one is reported together with the other mistakes.
 */
const ReadableEntity = Compile(
  Type.Object({
    name: Type.String(),
    client: Type.String(),
    source: Type.String(),
    shape: Type.Object({
      id_column: Type.Object({ path: Type.String(), type: Type.String() }),
      columns: Type.Array(Type.Object({ name: Type.String(), type: Type.String(), path: Type.String() })),
      indexes: Type.Optional(
        Type.Union([Type.Null(), Type.Array(Type.Object({ name: Type.String(), columns: Type.Array(Type.String()) }))]),
      ),
    }),
  }),
);

/** `/api/entity…`: the routes of EMCache's earlier Go client. */
export function addLegacyEntityRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { sourceNames, validateEntity } = dependencies;
  app.get("/api/entity", { config: READ }, async (request) => {
    const registry = visibleTo(request, dependencies.registry);
    const names = [...new Set(registry.list().map(({ entity }) => entity.name))];
    const versions = names.map((name) => registry.get(name)).filter((found) => found !== null);
    return versions.map(namedVersion).flatMap((version) => (version === null ? [] : [entityOnly(version.entity)]));
  });

  app.post("/api/entity", { config: WRITE }, async (request, reply) => {
    const { body } = request;
    if (body === undefined || body === null) throw new EmcacheError("body_not_json", "The body is empty");
    if (!ReadableEntity.Check(body)) {
      const mistakes = describeMistakes(ReadableEntity.Errors(body), body);
      return reply.code(422).send({ reason: `The body is not an entity: ${mistakes.join("; ")}` });
    }
    const definition = validateEntity(body, { sourceNames });
    return entityOnly((await visibleTo(request, dependencies.registry).create(definition)).entity);
  });

  app.post("/api/entity/refresh", { config: READ }, async () => {
    const success = await dependencies.registry.refresh().then(
      () => true,
      () => false,
    );
    return { success };
  });

  app.get("/api/entity/:name", { config: READ, schema: { params: EntityNameParams } }, async (request) =>
    entityOnly(requireNamedVersion(visibleTo(request, dependencies.registry), request.params.name).entity),
  );

  app.delete("/api/entity/:name", { config: WRITE, schema: { params: EntityNameParams } }, async (request) => {
    await visibleTo(request, dependencies.registry).delete(request.params.name);
    return { message: "Entity deleted successfully" };
  });
}
