import { DoneSchema } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { requireNamedVersion } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "copies">;

/** What an operator does with an entity's copies. Each answers at once; the capturing process acts within a second. */
export function addEntityCopyRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { copies } = dependencies;
  const route = (
    action: string,
    summary: string,
    act: (name: string, registry: Dependencies["registry"]) => Promise<string>,
  ): void => {
    app.post(
      `/api/entities/:name/${action}`,
      { config: { access: "write" }, schema: { summary, params: EntityNameParams, response: { 202: DoneSchema } } },
      async (request, reply) => {
        const { name } = request.params;
        const registry = visibleTo(request, dependencies.registry);
        requireNamedVersion(registry, name);
        return reply.code(202).send({ message: await act(name, registry), name });
      },
    );
  };
  route("copy", "Copies the collection anew; the present data is served meanwhile", async (name, registry) => {
    await copies.request(requireNamedVersion(registry, name).entity.id);
    return "A new copy begins";
  });
  route("copy/pause", "The entity's copies rest; the stream goes on", async (name) => {
    await copies.pause(name);
    return "Copies of this entity rest";
  });
  route("copy/resume", "The entity's copies go on from where they were", async (name) => {
    await copies.resume(name);
    return "Copies of this entity go on";
  });
  route(
    "resume",
    "An entity that stopped or is stale goes on with a new copy; any other is left alone",
    async (name, registry) => {
      const versions = registry.get(name);
      const ids = [versions?.live, versions?.pending].flatMap((version) => (version ? [version.entity.id] : []));
      const conditions = await copies.conditions(ids);
      const halted = [...conditions].filter(([, { state }]) => state === "stopped" || state === "kept");
      for (const [id] of halted) await copies.request(id);
      return halted.length === 0 ? "The entity has not stopped" : "The entity goes on with a new copy";
    },
  );
}
