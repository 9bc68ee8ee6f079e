import { EmcacheError, toProblem } from "@emcache/protocol";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { LogRead } from "../../oplog/log-read.ts";
import { sleep } from "../../runtime/sleep.ts";
import { bodyOf } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import type { BodiesInFlight } from "../bodies-in-flight.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { noteConsumer } from "../consumer-header.ts";
import { toShownError } from "../error-answer.ts";
import { EventStream } from "../event-stream.ts";
import { FollowAnswers } from "../follow-answer.ts";
import { followedVersions } from "../followed-version.ts";
import { requireNamedVersion } from "../named-version.ts";
import { withStartingPoints } from "../starting-points.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "oplog" | "hub" | "snapshots" | "consumers" | "logger"> & {
  readonly bodies: BodiesInFlight;
};

/** Below the minute after which most proxies end a silent connection. */
const HEARTBEAT_MS = 15_000;
/** Entries in one event at most. */
const LIMIT = 1000;
/** Entities in one request at most. */
const ENTITIES_MAX = 1000;
/** How long a stream waits where the clients of this process hold too many bytes that they have not taken. */
const OVERLOADED_PAUSE_MS = 250;

const StreamQuery = Type.Object({
  entities: Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1, maxItems: ENTITIES_MAX })], {
    description: "Names of entities; repeated for several",
  }),
  after: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: "Only entries after this position; without it and without Last-Event-ID from now on",
    }),
  ),
  heartbeat_ms: Type.Optional(Type.Integer({ minimum: 100, maximum: 60_000, default: HEARTBEAT_MS })),
});

/** Where a reader stands, and how it proves that it shares the log's history. */
interface Place {
  readonly after: number;
  readonly tag: string | null;
}

/**
 * `GET /api/oplogs/stream`: what happens to some entities, as server-sent events. Each event `entries` is a page as
 * `GET /api/follow` gives it, and its id is all that is needed to go on after it.
 */
export function addOplogStreamRoute(app: ApiInstance, dependencies: Dependencies): void {
  const { oplog } = dependencies;
  const answers = new FollowAnswers();
  const schema = {
    summary: "What happens to some entities, as server-sent events; goes on after Last-Event-ID",
    querystring: StreamQuery,
    response: { 200: bodyOf("text/event-stream", "Events `entries`, `position`, `reset` and `error`") },
  };
  // A HEAD of it would last as long as the stream.
  app.get(
    "/api/oplogs/stream",
    { config: { access: "read" }, schema, exposeHeadRoute: false },
    async (request, reply) => {
      const registry = visibleTo(request, dependencies.registry);
      const { entities, after, heartbeat_ms: heartbeatMs = HEARTBEAT_MS } = request.query;
      const names = typeof entities === "string" ? [entities] : entities;
      const versions = versionsOf(names, registry);
      const place = lastPlace(request) ?? { after: after ?? (await oplog.head()).head, tag: null };
      const signal = clientGoneSignal(reply);
      const follower = new StreamFollower(request, { ...dependencies, registry }, versions, signal);
      // What is wrong with the request is answered as everywhere; after this it can only be an event.
      const first = await follower.read(place, 0);
      const stream = new EventStream(reply, signal);
      const isSame = (): boolean => String(versionsOf(names, registry)) === String(versions);
      await follower.run({ stream, answers, first, place, heartbeatMs, isSame, reply });
      return reply;
    },
  );
}

interface StreamRun {
  readonly stream: EventStream;
  readonly answers: FollowAnswers;
  readonly first: LogRead;
  readonly place: Place;
  readonly heartbeatMs: number;
  /** Whether the names still stand for the versions that are followed. */
  readonly isSame: () => boolean;
  readonly reply: FastifyReply;
}

/** One reader of the stream. */
class StreamFollower {
  readonly #request: FastifyRequest;
  readonly #dependencies: Dependencies;
  readonly #ids: readonly number[];
  readonly #signal: AbortSignal;

  constructor(request: FastifyRequest, dependencies: Dependencies, ids: readonly number[], signal: AbortSignal) {
    this.#request = request;
    this.#dependencies = dependencies;
    this.#ids = ids;
    this.#signal = signal;
  }

  async read({ after, tag }: Place, waitMs: number): Promise<LogRead> {
    const { registry, hub, snapshots, consumers } = this.#dependencies;
    noteConsumer(this.#request, consumers, { versions: this.#ids, position: after });
    const versions = this.#ids;
    const signal = this.#signal;
    return withStartingPoints(followedVersions(versions.map(String), registry), snapshots, () =>
      hub.follow({ versions, after, tag, logId: null, limit: LIMIT, waitMs, signal }),
    );
  }

  /** Sends until the client is gone, the server stops, or the stream can't go on: then an event says why. */
  async run({ stream, answers, first, place, heartbeatMs, isSame }: StreamRun): Promise<void> {
    const { registry, hub, logger } = this.#dependencies;
    try {
      let { after } = place;
      for (let read = first; ; read = await this.read({ after, tag: read.tag }, heartbeatMs)) {
        if (!isSame()) {
          const versions = this.#ids.map((id) => registry.find(id)).map((record) => record?.entity.name);
          await stream.send(
            "reset",
            null,
            JSON.stringify({ reason: "an entity has a new version", entities: versions }),
          );
          return;
        }
        if (read.rows.length > 0) await this.#sendEntries(stream, answers, read);
        else if (read.position > after || read === first) await stream.send("position", idOf(read), positionOf(read));
        else await stream.beat();
        after = read.position;
        if (hub.isClosed) return;
      }
    } catch (error) {
      if (this.#signal.aborted) return;
      await stream.send("error", null, JSON.stringify(toProblem(toShownError(error, this.#request, logger))));
    } finally {
      stream.end();
    }
  }

  async #sendEntries(stream: EventStream, answers: FollowAnswers, read: LogRead): Promise<void> {
    const body = answers.bodyOf(read, followedVersions(this.#ids.map(String), this.#dependencies.registry));
    const release = await this.#takeBody(body);
    try {
      await stream.send("entries", idOf(read), body);
    } finally {
      release();
    }
  }

  async #takeBody(body: Buffer): Promise<() => void> {
    for (;;) {
      try {
        return this.#dependencies.bodies.take(body);
      } catch {
        await sleep(OVERLOADED_PAUSE_MS, this.#signal);
      }
    }
  }
}

function versionsOf(names: readonly string[], registry: Dependencies["registry"]): number[] {
  return [...new Set(names.map((name) => requireNamedVersion(registry, name).entity.id))];
}

/** The position and the tag there. */
function idOf({ position, tag }: LogRead): string {
  return `${position}.${tag}`;
}

function positionOf({ logId, floor, head, position, tag }: LogRead): string {
  return JSON.stringify({ log_id: logId, floor, head, position, tag });
}

/** @throws EmcacheError `bad_request` where the header is none of our ids */
function lastPlace(request: FastifyRequest): Place | null {
  const text = request.headers["last-event-id"];
  if (text === undefined || text === "") return null;
  const match = /^(\d{1,15})(?:\.([\w-]{0,64}))?$/.exec(String(text));
  if (match === null) {
    const mistake = "last-event-id: is no id of this stream; expected POSITION.TAG";
    throw new EmcacheError("bad_request", mistake, { errors: [mistake] });
  }
  return { after: Number(match[1]), tag: match[2] ?? null };
}
