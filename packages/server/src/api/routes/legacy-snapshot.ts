import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { chooseContentCoding } from "../content-coding.ts";
import { requireNamedVersion } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { sendFile } from "../send-file.ts";
import { visibleTo } from "../visible-registry.ts";

/** Less than the 30 s that EMCache's Go client waits for an answer. */
const WAIT_TIMEOUT_MS = 25_000;

/** `GET /api/snapshot/{name}`: the file that EMCache's earlier Go client starts from. */
export function addLegacySnapshotRoutes(
  app: ApiInstance,
  { registry, snapshots }: Pick<ApiDependencies, "registry" | "snapshots">,
): void {
  app.get(
    "/api/snapshot/:name",
    { config: { access: "read" }, schema: { params: EntityNameParams } },
    async (request, reply) => {
      const { name } = request.params;
      requireNamedVersion(visibleTo(request, registry), name);
      const coding = chooseContentCoding(request.headers["accept-encoding"]);
      const signal = AbortSignal.any([clientGoneSignal(reply), AbortSignal.timeout(WAIT_TIMEOUT_MS)]);
      const path = await snapshots.legacyFile(name, coding, signal);
      reply.type("application/octet-stream").header("content-disposition", `attachment; filename=${name}.db`);
      reply.header("vary", "accept-encoding").header("cache-control", "no-store");
      if (coding !== "identity") reply.header("content-encoding", coding);
      await sendFile(request, reply, { path, etag: null });
      return reply;
    },
  );
}
