import { EmcacheError, type SnapshotManifest } from "@emcache/protocol";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { bodyOf } from "../answer-schemas.ts";
import type { ApiDependencies, RegisteredEntity } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { chooseContentCoding } from "../content-coding.ts";
import { requireNamedVersion } from "../named-version.ts";
import { parseTime } from "../parse-time.ts";
import { EntityNameParams } from "../schemas.ts";
import { sendFile } from "../send-file.ts";
import { visibleTo } from "../visible-registry.ts";
import type { ContentCoding, FoundSnapshot, PointInTime, SnapshotForms } from "../snapshots-port.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "snapshots">;

const READ = { access: "read" } as const;
const WRITE = { access: "write" } as const;

/** Between the choice of a file and its opening it may be replaced, or turn out to be damaged: then another one is sent. */
const ATTEMPTS_MAX = 3;

const ManifestSchema = Type.Unsafe<SnapshotManifest>(
  Type.Object({
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
    compressions: Type.Array(
      Type.Object({ coding: Type.String(), size_bytes: Type.Integer(), sha256: Type.String() }),
      {
        description: "Stored forms of the file, sent by `accept-encoding`",
      },
    ),
    created_at: Type.String(),
  }),
);

const GetQuery = Type.Object({
  info: Type.Optional(Type.String({ description: "The manifest as JSON instead of the file" })),
  version: Type.Optional(Type.Integer({ minimum: 0, description: "The newest of this version of the entity" })),
  id: Type.Optional(Type.String({ description: "This one" })),
  position: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: "The entity as it was at this position of the log",
    }),
  ),
  time: Type.Optional(
    Type.String({ description: "The entity as it was at this time of the source: RFC 3339, or seconds since 1970" }),
  ),
});
const ListQuery = Type.Object({ entity: Type.Optional(Type.String()) });
const SnapshotParams = Type.Object({
  name: Type.String({ examples: ["users"] }),
  id: Type.String({ description: "Id of a snapshot" }),
});

/** `/api/snapshots`: the list; a snapshot's file, or its manifest with `?info`; make one now; delete one. */
export function addSnapshotRoutes(app: ApiInstance, dependencies: Dependencies): void {
  addReadRoutes(app, dependencies);
  addWriteRoutes(app, dependencies);
}

function addReadRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { snapshots } = dependencies;
  const listSchema = {
    summary: "All snapshots, newest first",
    querystring: ListQuery,
    response: { 200: Type.Array(ManifestSchema) },
  };
  app.get("/api/snapshots", { config: READ, schema: listSchema }, async (request) => {
    const { entity } = request.query;
    if (entity !== undefined) requireNamedVersion(visibleTo(request, dependencies.registry), entity);
    return (await snapshots.list(entity)).filter((manifest) => request.access.allowsEntity(manifest.entity));
  });

  const getSchema = {
    summary: "The newest snapshot of an entity, or the entity at a point in time: a SQLite file",
    params: EntityNameParams,
    querystring: GetQuery,
    response: {
      200: {
        description: "The file; with `info` its manifest",
        content: {
          "application/vnd.sqlite3": { schema: Type.Unsafe<unknown>(Type.String()) },
          "application/json": { schema: ManifestSchema },
        },
      },
      206: bodyOf("application/vnd.sqlite3", "A part of the file, as `range` asks for it"),
      302: Type.Null({ description: "The file lies in object storage, where `location` says" }),
      304: Type.Null({ description: "The client has it already (`if-none-match`)" }),
      307: Type.Null({ description: "The file lies at another process, where `location` says" }),
    },
  };
  app.get("/api/snapshots/:name", { config: READ, schema: getSchema }, async (request, reply) => {
    const registry = visibleTo(request, dependencies.registry);
    const { info, version = null, id = null, position, time } = request.query;
    const { name } = request.params;
    request.access.requireEntity(name);
    const coding = chooseContentCoding(request.headers["accept-encoding"]);
    const signal = clientGoneSignal(reply);
    const point = pointOf({ position, time, version, id });
    const find = async (): Promise<FoundSnapshot> => {
      if (point === null) return findOrThrow({ registry, snapshots }, name, { version, id }, coding, signal);
      requireNamedVersion(registry, name);
      return snapshots.restore(name, point, signal);
    };
    const isInfo = info !== undefined && info !== "false" && info !== "0";
    if (isInfo && point === null) {
      const wanted = { version, id };
      const manifest = await snapshots.manifest(name, wanted, signal);
      if (manifest === null) throw noSnapshot(requireNamedVersion(registry, name), wanted);
      setManifestHeaders(reply, manifest);
      return manifest;
    }
    await answer(request, reply, { find, isInfo, coding, dependencies });
    return reply;
  });
}

function addWriteRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const { snapshots } = dependencies;
  const postSchema = {
    summary: "Makes a snapshot now and answers when it is complete and verified",
    params: EntityNameParams,
    response: { 201: ManifestSchema },
  };
  app.post("/api/snapshots/:name", { config: WRITE, schema: postSchema }, async (request, reply) => {
    const { params } = request;
    requireNamedVersion(visibleTo(request, dependencies.registry), params.name);
    const manifest = await snapshots.create(params.name, clientGoneSignal(reply));
    reply.code(201).header("location", `/api/snapshots/${params.name}`);
    return manifest;
  });

  const deleteSchema = {
    summary: "Deletes a snapshot",
    params: SnapshotParams,
    response: { 204: Type.Null({ description: "It is deleted" }) },
  };
  app.delete("/api/snapshots/:name/:id", { config: WRITE, schema: deleteSchema }, async (request, reply) => {
    const { params } = request;
    requireNamedVersion(visibleTo(request, dependencies.registry), params.name);
    await snapshots.remove(params.name, params.id, clientGoneSignal(reply));
    reply.code(204);
  });
}

interface Answer {
  readonly find: () => Promise<FoundSnapshot>;
  readonly isInfo: boolean;
  readonly coding: ContentCoding;
  readonly dependencies: Dependencies;
}

async function answer(request: FastifyRequest, reply: FastifyReply, job: Answer): Promise<void> {
  let previousPath: string | null = null;
  for (let attempt = 1; ; attempt += 1) {
    const found = await job.find();
    const manifest = found.kind === "file" ? found.file.manifest : found.manifest;
    if (manifest !== null) setManifestHeaders(reply, manifest);
    if (job.isInfo && manifest !== null) {
      reply.send(manifest);
      return;
    }
    if (found.kind === "elsewhere") {
      // 307 for the holder's route, which is the same one; 302 for an object, which anyone GETs.
      const url = job.isInfo ? `${found.url}&info` : found.url;
      reply.code(found.isObject ? 302 : 307).header("location", url);
      reply.send();
      return;
    }
    const form = formFor(found.file, job.coding);
    try {
      await sendForm(request, reply, found.file, form, job.dependencies);
      return;
    } catch (error) {
      if (form.path === previousPath || attempt === ATTEMPTS_MAX) throw error;
      previousPath = form.path;
    }
  }
}

async function sendForm(
  request: FastifyRequest,
  reply: FastifyReply,
  file: SnapshotForms,
  { path, sha256, coding, chunkSums, sizeBytes }: SnapshotForms["forms"][number],
  { snapshots }: Dependencies,
): Promise<void> {
  reply.type("application/vnd.sqlite3");
  reply.header("content-disposition", `attachment; filename="${file.manifest.entity}.db"`);
  // Of what is sent, RFC 9530; `emcache-sha256` is of the file itself.
  reply.header("repr-digest", `sha-256=:${Buffer.from(sha256, "hex").toString("base64")}:`);
  if (coding !== "identity") reply.header("content-encoding", coding);
  const onDamage = (): Promise<void> => snapshots.damaged(file, path);
  await sendFile(request, reply, { path, etag: sha256, check: { chunkSums, sizeBytes, onDamage } });
}

/** The stored form of the coding that is wanted, else the file itself. */
function formFor({ forms }: SnapshotForms, wanted: ContentCoding): SnapshotForms["forms"][number] {
  const form = forms.find(({ coding }) => coding === wanted) ?? forms[0];
  if (form === undefined) throw new EmcacheError("internal", "a snapshot without a file");
  return form;
}

/**
 * What a client must know of the file before it has it. `no-cache` makes caches ask whether the entity tag is still
 * the newest.
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
    "last-modified": new Date(manifest.created_at).toUTCString(),
    "cache-control": "no-cache",
    vary: "accept-encoding",
  });
}

async function findOrThrow(
  { registry, snapshots }: Dependencies,
  name: string,
  wanted: { readonly version: number | null; readonly id: string | null },
  coding: ContentCoding,
  signal: AbortSignal,
): Promise<FoundSnapshot> {
  const version = requireNamedVersion(registry, name);
  const found = await snapshots.find(name, wanted, coding, signal);
  if (found === null) throw noSnapshot(version, wanted);
  return found;
}

function noSnapshot(version: RegisteredEntity, { id }: { readonly id: string | null }): EmcacheError {
  const quoted = JSON.stringify(version.entity.name);
  if (id !== null) {
    return new EmcacheError("snapshot_not_found", `The entity ${quoted} has no snapshot ${JSON.stringify(id)}`);
  }
  return version.state === "live"
    ? new EmcacheError("snapshot_not_found", `The entity ${quoted} has no snapshot yet`)
    : new EmcacheError("snapshot_not_ready", `The first copy of the entity ${quoted} is still running`);
}

/** Null where no point in time is asked for. @throws `bad_request` where more than one thing is asked for */
function pointOf(query: {
  readonly position: number | undefined;
  readonly time: string | undefined;
  readonly version: number | null;
  readonly id: string | null;
}): PointInTime | null {
  const given = [query.position ?? null, query.time ?? null, query.version, query.id].filter((value) => value !== null);
  if (given.length > 1) {
    throw new EmcacheError("bad_request", "position, time, version and id each name a snapshot; give one of them");
  }
  if (query.position !== undefined) return { position: query.position };
  return query.time === undefined ? null : { timeS: parseTime(query.time) };
}
