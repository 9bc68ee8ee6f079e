import type { FastifyReply } from "fastify";
import type { LogRead } from "../../oplog/log-read.ts";
import { readLog } from "../../oplog/read-log.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import type { BodiesInFlight } from "../bodies-in-flight.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { noteConsumer } from "../consumer-header.ts";
import { type LegacyOplogQuery, LegacyQueryUnreadable, parseLegacyOplogQuery } from "../legacy-oplog-query.ts";
import { namedVersion } from "../named-version.ts";
import { oplogEntriesJson } from "../oplog-json.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "oplog" | "hub" | "consumers"> & {
  readonly bodies: BodiesInFlight;
};

/** `/api/oplogs` and `/api/oplogs/status`: what EMCache's earlier Go client follows. */
export function addLegacyOplogRoutes(app: ApiInstance, dependencies: Dependencies): void {
  app.get("/api/oplogs/status", { config: { access: "read" } }, async (_request, reply) => {
    const { logId, head, floor } = await dependencies.oplog.head();
    reply.header("cache-control", "no-store");
    const { waiterCount, counts } = dependencies.hub;
    const { pagesRead, batchesTaken } = counts;
    return {
      max_id: head,
      floor,
      log_id: logId,
      waiting: waiterCount,
      pages_read: pagesRead,
      batches_taken: batchesTaken,
    };
  });

  /** Bodies of those who waited for the same: they are the same bytes. */
  const bodies = new WeakMap<LogRead, Buffer>();
  app.get("/api/oplogs", { config: { access: "read" } }, async (request, reply) => {
    let query: LegacyOplogQuery;
    try {
      query = parseLegacyOplogQuery(request.raw.url ?? "");
    } catch (error) {
      if (!(error instanceof LegacyQueryUnreadable)) throw error;
      return reply.code(400).send({ reason: error.message });
    }
    const names = knownVersionNames(query.entities, visibleTo(request, dependencies.registry));
    noteConsumer(request, dependencies.consumers, { versions: [...names.keys()], position: query.from });
    reply.header("cache-control", "no-store").type("application/json; charset=utf-8");
    if (names.size === 0 && query.waitMs === 0) return reply.send("[]");
    const read = await readOrWait(query, [...names.keys()], reply, dependencies);
    const body = bodies.get(read) ?? Buffer.from(oplogEntriesJson(read.rows, names));
    bodies.set(read, body);
    dependencies.bodies.hold(body, reply);
    return reply.header("emcache-position", read.position).send(body);
  });
}

/** Without `wait_ms` as the earlier server did; with it from what all followers share. */
function readOrWait(
  { from: after, limit, waitMs }: LegacyOplogQuery,
  versions: readonly number[],
  reply: FastifyReply,
  { oplog, hub }: Dependencies,
): Promise<LogRead> {
  const signal = clientGoneSignal(reply);
  return waitMs === 0
    ? readLog(oplog, { versions, after, offset: 0, limit, signal })
    : hub.follow({ versions, after, limit, waitMs, logId: null, tag: null, signal });
}

/** Unknown names have no entries; a client whose entity was deleted is not refused for it. */
function knownVersionNames(entities: readonly string[], registry: Dependencies["registry"]): Map<number, string> {
  const names = new Map<number, string>();
  for (const name of entities) {
    const versions = registry.get(name);
    const version = versions === null ? null : namedVersion(versions);
    if (version !== null) names.set(version.entity.id, name);
  }
  return names;
}
