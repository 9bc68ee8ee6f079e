import { readLog } from "../../oplog/read-log.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { type LegacyOplogQuery, LegacyQueryUnreadable, parseLegacyOplogQuery } from "../legacy-oplog-query.ts";
import { namedVersion } from "../named-version.ts";
import { oplogEntriesJson } from "../oplog-json.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "oplog">;

/** `/api/oplogs` and `/api/oplogs/status`: what EMCache's earlier Go client follows. */
export function addLegacyOplogRoutes(app: ApiInstance, { registry, oplog }: Dependencies): void {
  app.get("/api/oplogs/status", async (_request, reply) => {
    const { head } = await oplog.head();
    reply.header("cache-control", "no-store");
    return { max_id: head };
  });

  app.get("/api/oplogs", async (request, reply) => {
    let query: LegacyOplogQuery;
    try {
      query = parseLegacyOplogQuery(request.raw.url ?? "");
    } catch (error) {
      if (!(error instanceof LegacyQueryUnreadable)) throw error;
      return reply.code(400).send({ reason: error.message });
    }
    const names = knownVersionNames(query.entities, registry);
    reply.header("cache-control", "no-store").type("application/json; charset=utf-8");
    if (names.size === 0) return reply.send("[]");
    const read = await readLog(oplog, {
      versions: [...names.keys()],
      after: query.from,
      offset: 0,
      limit: query.limit,
      signal: clientGoneSignal(reply),
    });
    return reply.header("emcache-position", read.position).send(oplogEntriesJson(read.rows, names));
  });
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
