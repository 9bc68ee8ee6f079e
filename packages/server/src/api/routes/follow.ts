import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { OplogEntrySchema } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import type { BodiesInFlight } from "../bodies-in-flight.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { noteConsumer } from "../consumer-header.ts";
import { FollowAnswers } from "../follow-answer.ts";
import { followedVersions } from "../followed-version.ts";
import { withStartingPoints } from "../starting-points.ts";
import { LIMIT_MAX, WAIT_MS_MAX } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "hub" | "snapshots" | "consumers" | "cachesPublicly"> & {
  readonly bodies: BodiesInFlight;
};

/** A page of small rows is some 200 kB. */
const LIMIT_DEFAULT = 1000;
/** Versions in one request at most. */
const VERSIONS_MAX = 1000;

const Position = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const VERSION_PATTERN = "^[0-9]{1,9}$";
const VersionId = Type.String({ pattern: VERSION_PATTERN, examples: ["1"] });
const FollowQuery = Type.Object({
  after: Type.Integer({ ...Position, description: "Only entries after this position" }),
  versions: Type.Union([VersionId, Type.Array(VersionId, { minItems: 1, maxItems: VERSIONS_MAX })], {
    description: "Ids of entity versions; repeated for several",
  }),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIMIT_MAX, default: LIMIT_DEFAULT })),
  wait_ms: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: WAIT_MS_MAX,
      default: 0,
      description: "How long to wait, in milliseconds, where there is no entry yet",
    }),
  ),
  log_id: Type.Optional(Type.String({ description: "The log that was followed so far; 409 if this is another one" })),
  tag: Type.Optional(Type.String({ description: "The tag at `after`; 409 if it is another one in this log" })),
});

const FollowAnswer = Type.Object({
  log_id: Type.String(),
  floor: Type.Integer({ description: "Lowest position that the log still holds" }),
  head: Type.Integer({ description: "Position of the log's last entry" }),
  position: Type.Integer({ description: "Everything up to here was looked at: the next request's `after`" }),
  tag: Type.String({ description: "The next request's `tag`" }),
  has_more: Type.Boolean(),
  versions: Type.Record(Type.String(), Type.String(), {
    description: "What each version is: pending, live, or retired (a newer one has taken its place)",
  }),
  entries: Type.Array(OplogEntrySchema, { description: "Ascending by id" }),
});

const PageParams = Type.Object({
  log_id: Type.String(),
  version: Type.String({ pattern: VERSION_PATTERN, description: "Id of an entity version", examples: ["1"] }),
});
const PageQuery = Type.Object({
  after: Type.Integer({ ...Position, description: "Only entries after this position" }),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIMIT_MAX, default: LIMIT_DEFAULT })),
  tag: Type.Optional(Type.String({ description: "The tag at `after`; 409 if it is another one in this log" })),
});

/** `GET /api/follow`, which our client uses, and pages of the log that never change. */
export function addFollowRoutes(app: ApiInstance, dependencies: Dependencies): void {
  const answers = new FollowAnswers();
  wakeOnChange(dependencies.registry, dependencies.hub);
  addFollowRoute(app, dependencies, answers);
  addPageRoute(app, dependencies, answers);
}

function addFollowRoute(app: ApiInstance, dependencies: Dependencies, answers: FollowAnswers): void {
  const { hub, snapshots, consumers, bodies } = dependencies;
  const schema = {
    summary: "Follows entity versions; with wait_ms the answer comes with their next entries",
    querystring: FollowQuery,
    response: { 200: FollowAnswer },
  };
  app.get("/api/follow", { config: { access: "read" }, schema }, async (request, reply) => {
    const registry = visibleTo(request, dependencies.registry);
    const { after, limit = LIMIT_DEFAULT, wait_ms: waitMs = 0, log_id: logId = null, tag = null } = request.query;
    const versions = followedVersions(request.query.versions, registry);
    const ids = versions.map(({ id }) => id);
    noteConsumer(request, consumers, { versions: ids, position: after });
    const signal = clientGoneSignal(reply);
    const read = await withStartingPoints(versions, snapshots, () =>
      hub.follow({ after, limit, waitMs, logId, tag, versions: ids, signal }),
    );
    const body = answers.bodyOf(read, followedVersions(request.query.versions, registry));
    bodies.hold(body, reply);
    // Our client knows by it that no proxy gave it the answer to another request.
    const requestName = request.headers["emcache-request"];
    if (typeof requestName === "string") reply.header("emcache-request", requestName);
    sendJson(reply, body);
    return reply;
  });
}

/**
 * Pages whose URL says all that they depend on. A full one never changes, so an HTTP cache in front can answer for any
 * number of clients that start from the same snapshot.
 */
function addPageRoute(app: ApiInstance, dependencies: Dependencies, answers: FollowAnswers): void {
  const { hub, snapshots, consumers, cachesPublicly, bodies } = dependencies;
  const schema = {
    summary: "A page of one entity version's log; a full one never changes, and says so to HTTP caches",
    params: PageParams,
    querystring: PageQuery,
    response: { 200: FollowAnswer, 304: Type.Null({ description: "The client has it already" }) },
  };
  const scope = cachesPublicly ? "public" : "private";
  app.get(
    "/api/logs/:log_id/entities/:version/pages",
    { config: { access: "read" }, schema },
    async (request, reply) => {
      const registry = visibleTo(request, dependencies.registry);
      const { after, limit = LIMIT_DEFAULT, tag = null } = request.query;
      const { log_id: logId, version } = request.params;
      const versions = followedVersions(version, registry);
      const ids = versions.map(({ id }) => id);
      noteConsumer(request, consumers, { versions: ids, position: after });
      const signal = clientGoneSignal(reply);
      const read = await withStartingPoints(versions, snapshots, () =>
        hub.follow({ after, limit, waitMs: 0, logId, tag, versions: ids, signal }),
      );
      const isFull = read.rows.length > 0 && read.position === read.rows.at(-1)?.position && read.position < read.head;
      const body = isFull ? answers.pageOf(read, versions) : answers.bodyOf(read, versions);
      bodies.hold(body, reply);
      if (isFull) sendImmutable(request, reply, body, scope);
      else sendJson(reply, body);
      return reply;
    },
  );
}

function sendJson(reply: FastifyReply, body: Buffer): void {
  reply.header("cache-control", "no-store").type("application/json; charset=utf-8").send(body);
}

/** @param scope whether caches that several clients share may keep it */
function sendImmutable(request: FastifyRequest, reply: FastifyReply, body: Buffer, scope: "private" | "public"): void {
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  reply.headers({ etag, "cache-control": `${scope}, max-age=31536000, immutable` });
  if (request.headers["if-none-match"] === etag) reply.code(304).send();
  else reply.type("application/json; charset=utf-8").send(body);
}

/** Whoever waits for a version hears at once that it became live, or that a newer one has taken its place. */
function wakeOnChange(registry: Dependencies["registry"], hub: Dependencies["hub"]): void {
  let known = new Map(registry.list().map(({ entity, state }) => [entity.id, state]));
  registry.onChange(() => {
    const now = new Map(registry.list().map(({ entity, state }) => [entity.id, state]));
    const changed = new Set([...known.keys(), ...now.keys()].filter((id) => known.get(id) !== now.get(id)));
    known = now;
    if (changed.size > 0) hub.versionsChanged(changed);
  });
}
