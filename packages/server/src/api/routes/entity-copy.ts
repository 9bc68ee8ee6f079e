import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { requireNamedVersion } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { versionFacts } from "../version-facts.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "copies" | "rejects">;

/** What an operator does with an entity's copies. Each answers at once; the capturing process acts within a second. */
export function addEntityCopyRoutes(app: ApiInstance, { registry, copies, rejects }: Dependencies): void {
  const route = (action: string, summary: string, act: (name: string) => Promise<string>): void => {
    app.post(
      `/api/entities/:name/${action}`,
      { schema: { summary, params: EntityNameParams } },
      async (request, reply) => {
        const { name } = request.params;
        requireNamedVersion(registry, name);
        return reply.code(202).send({ message: await act(name), name });
      },
    );
  };
  const copyAnew = (name: string): Promise<void> => copies.request(requireNamedVersion(registry, name).entity.id);

  route("copy", "Copies the collection anew; the present data is served meanwhile", async (name) => {
    await copyAnew(name);
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
    async (name) => {
      const { id } = requireNamedVersion(registry, name).entity;
      const facts = await versionFacts({ copies, rejects }, [id]);
      const state = facts.copies?.get(id)?.state ?? null;
      // Unknown is not "no": then the wish is stored, and fails where PostgreSQL is away.
      if (facts.copies !== null && state !== "stopped" && state !== "kept") return "The entity has not stopped";
      await copyAnew(name);
      return "The entity goes on with a new copy";
    },
  );
}
