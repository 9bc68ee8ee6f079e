import { EmcacheError } from "@emcache/protocol";
import type { FastifyReply } from "fastify";
import { Type } from "typebox";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { FollowAnswers, type FollowedVersion } from "../follow-answer.ts";
import { withStartingPoints } from "../starting-points.ts";
import { LIMIT_MAX } from "../schemas.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "hub" | "snapshots">;

/** A consumer keeps a request open for this long at most; proxies that end it earlier do no harm. */
const WAIT_MS_MAX = 60_000;
/** A page of small rows is some 200 kB. */
const LIMIT_DEFAULT = 1000;
/** Versions in one request at most. */
const VERSIONS_MAX = 1000;

const Position = { minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const VersionId = Type.String({ pattern: "^[0-9]{1,9}$" });
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
  entries: Type.Array(Type.Unknown(), { description: "Ascending by id" }),
});

/** `GET /api/follow`: what happened to some entity versions, waiting for it if asked to. What our client follows. */
export function addFollowRoutes(app: ApiInstance, { registry, hub, snapshots }: Dependencies): void {
  const answers = new FollowAnswers();
  wakeOnChange(registry, hub);
  const schema = {
    summary: "Follows entity versions; with wait_ms the answer comes with their next entries",
    querystring: FollowQuery,
    response: { 200: FollowAnswer },
  };
  app.get("/api/follow", { schema }, async ({ query }, reply) => {
    const versions = followedVersions(query.versions, registry);
    const { after, limit = LIMIT_DEFAULT, wait_ms: waitMs = 0, log_id: logId = null, tag = null } = query;
    const ids = versions.map(({ id }) => id);
    const signal = clientGoneSignal(reply);
    const read = await withStartingPoints(versions, snapshots, () =>
      hub.follow({ after, limit, waitMs, logId, tag, versions: ids, signal }),
    );
    sendJson(reply, answers.bodyOf(read, followedVersions(query.versions, registry)));
    return reply;
  });
}

function sendJson(reply: FastifyReply, body: Buffer): void {
  reply.header("cache-control", "no-store").type("application/json; charset=utf-8").send(body);
}

/** @throws EmcacheError `entity_not_found` naming every version that there is not */
function followedVersions(asked: string | readonly string[], registry: Dependencies["registry"]): FollowedVersion[] {
  const ids = [...new Set((typeof asked === "string" ? [asked] : asked).map(Number))];
  const found = ids.map((id) => registry.find(id));
  const missing = ids.filter((_, index) => found[index] === null);
  if (missing.length > 0) {
    const errors = missing.map((id) => `versions: there is no entity version ${id}`);
    throw new EmcacheError("entity_not_found", errors.join("\n"), { errors });
  }
  return found.flatMap((record) =>
    record === null ? [] : [{ id: record.entity.id, name: record.entity.name, state: record.state }],
  );
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
