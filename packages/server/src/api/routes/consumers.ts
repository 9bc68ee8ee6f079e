import { EmcacheError } from "@emcache/protocol";
import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { StoredClaim } from "../../oplog/claim-store.ts";
import { DoneSchema } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "consumers" | "oplog" | "claimTtlS">;

const ConsumerSchema = Type.Object({
  name: Type.String(),
  entities: Type.Array(Type.String()),
  versions: Type.Array(Type.Integer()),
  position: Type.Integer({ description: "It has everything up to here" }),
  lag_entries: Type.Integer({ description: "How far the log goes beyond that, of all entities" }),
  seen_at: Type.String(),
  seen_ago_s: Type.Number(),
  is_expired: Type.Boolean({ description: "Whether it holds the log back no more: see retention.claim_ttl" }),
});
const ConsumerParams = Type.Object({ name: Type.String({ description: "Name of a consumer" }) });

/** `/api/consumers`: who follows the log under a name, and how far each is. */
export function addConsumerRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { consumers, oplog, claimTtlS } = dependencies;
  const listSchema = {
    summary: "Consumers that named themselves (header emcache-consumer), the furthest behind first",
    response: { 200: Type.Array(ConsumerSchema) },
  };
  app.get("/api/consumers", { config: { access: "read" }, schema: listSchema }, async (request, reply) => {
    const registry = visibleTo(request, dependencies.registry);
    const found = (await consumers.list(clientGoneSignal(reply))).filter((consumer) =>
      isVisible(consumer, request, registry),
    );
    const { head } = await oplog.head();
    reply.header("cache-control", "no-store");
    return found.map(({ name, versions, position, refreshedAt, ageS }) => ({
      name,
      entities: [...new Set(versions.map((version) => registry.find(version)?.entity.name ?? ""))].filter(Boolean),
      versions: [...versions],
      position,
      lag_entries: Math.max(0, head - position),
      seen_at: refreshedAt,
      seen_ago_s: Math.round(ageS * 1000) / 1000,
      is_expired: ageS > claimTtlS,
    }));
  });

  const deleteSchema = {
    summary: "Forgets a consumer: the log is not kept for it any more, unless it asks again",
    params: ConsumerParams,
    response: { 200: DoneSchema },
  };
  app.delete("/api/consumers/:name", { config: { access: "write" }, schema: deleteSchema }, async (request, reply) => {
    const { name } = request.params;
    const registry = visibleTo(request, dependencies.registry);
    const found = (await consumers.list(clientGoneSignal(reply))).find((consumer) => consumer.name === name);
    if (found !== undefined && !isVisible(found, request, registry)) request.access.requireAllEntities();
    if (await consumers.remove(name, clientGoneSignal(reply))) return { message: "Consumer forgotten", name };
    throw new EmcacheError("consumer_not_found", `There is no consumer ${JSON.stringify(name.slice(0, 200))}`);
  });
}

/** Whether the sender of the request may use all that the consumer reads. */
function isVisible(
  { versions }: StoredClaim,
  { access }: FastifyRequest,
  registry: ApiDependencies["registry"],
): boolean {
  return access.isUnrestricted || (versions.length > 0 && versions.every((version) => registry.find(version) !== null));
}
