import { EmcacheError, type SnapshotManifest } from "@emcache/protocol";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { ApiDependencies, SnapshotFile } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { requireNamedVersion } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { sendFile } from "../send-file.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "snapshots">;

const ManifestSchema = Type.Object({
  id: Type.String(),
  entity: Type.String(),
  version: Type.Integer(),
  log_id: Type.String(),
  position: Type.Integer({ description: "Read the log on from here" }),
  tag: Type.String(),
  cluster_time_s: Type.Union([Type.Number(), Type.Null()]),
  rows: Type.Integer(),
  size_bytes: Type.Integer(),
  sha256: Type.String(),
  created_at: Type.String(),
});

const InfoQuery = Type.Object({
  info: Type.Optional(Type.String({ description: "The manifest as JSON instead of the file" })),
});
const ListQuery = Type.Object({ entity: Type.Optional(Type.String()) });

/** `/api/snapshots`: the list; the newest file of an entity, or its manifest with `?info`; make one now. */
export function addSnapshotRoutes(app: ApiInstance, { registry, snapshots }: Dependencies): void {
  const listSchema = {
    summary: "All snapshots, newest first",
    querystring: ListQuery,
    response: { 200: Type.Array(ManifestSchema) },
  };
  app.get("/api/snapshots", { schema: listSchema }, async ({ query }) => {
    if (query.entity !== undefined) requireNamedVersion(registry, query.entity);
    return [...(await snapshots.list(query.entity))];
  });

  const getSchema = {
    summary: "The newest snapshot of an entity: a SQLite file",
    params: EntityNameParams,
    querystring: InfoQuery,
  };
  app.get("/api/snapshots/:name", { schema: getSchema }, async (request, reply) => {
    const { name } = request.params;
    const isInfo = request.query.info !== undefined && request.query.info !== "false" && request.query.info !== "0";
    await sendNewest(request, reply, isInfo, () => newestOf(name, { registry, snapshots }));
    return reply;
  });

  const postSchema = {
    summary: "Makes a snapshot now and answers when it is complete and verified",
    params: EntityNameParams,
    response: { 201: ManifestSchema },
  };
  app.post("/api/snapshots/:name", { schema: postSchema }, async ({ params }, reply) => {
    requireNamedVersion(registry, params.name);
    const manifest = await snapshots.create(params.name, clientGoneSignal(reply));
    reply.code(201).header("location", `/api/snapshots/${params.name}`);
    return manifest;
  });
}

async function sendNewest(
  request: FastifyRequest,
  reply: FastifyReply,
  isInfo: boolean,
  newest: () => Promise<SnapshotFile>,
): Promise<void> {
  const { manifest, path } = await newest();
  setManifestHeaders(reply, manifest);
  if (isInfo) {
    reply.send(manifest);
    return;
  }
  reply.type("application/vnd.sqlite3");
  reply.header("content-disposition", `attachment; filename="${manifest.entity}.db"`);
  try {
    await sendFile(request, reply, { path, etag: manifest.sha256 });
  } catch (error) {
    // Between its choice and its opening the file was replaced by a newer one: that one is wanted.
    const next = await newest();
    if (next.manifest.id === manifest.id) throw error;
    setManifestHeaders(reply, next.manifest);
    await sendFile(request, reply, { path: next.path, etag: next.manifest.sha256 });
  }
}

/**
 * What a client must know of the file before it has it. `repr-digest` is RFC 9530's; `no-cache` makes caches ask
 * whether the entity tag is still the newest.
 */
function setManifestHeaders(reply: FastifyReply, manifest: SnapshotManifest): void {
  reply.headers({
    "emcache-snapshot-id": manifest.id,
    "emcache-version": manifest.version,
    "emcache-log-id": manifest.log_id,
    "emcache-position": manifest.position,
    "emcache-tag": manifest.tag,
    "emcache-rows": manifest.rows,
    "emcache-sha256": manifest.sha256,
    "repr-digest": `sha-256=:${Buffer.from(manifest.sha256, "hex").toString("base64")}:`,
    "last-modified": new Date(manifest.created_at).toUTCString(),
    "cache-control": "no-cache",
  });
}

async function newestOf(name: string, { registry, snapshots }: Dependencies): Promise<SnapshotFile> {
  const version = requireNamedVersion(registry, name);
  const newest = await snapshots.newest(name);
  if (newest !== null) return newest;
  const quoted = JSON.stringify(name);
  if (version.state === "live")
    throw new EmcacheError("snapshot_not_found", `The entity ${quoted} has no snapshot yet`);
  throw new EmcacheError("snapshot_not_ready", `The first copy of the entity ${quoted} is still running`);
}
