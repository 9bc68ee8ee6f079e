import { toProblem } from "@emcache/protocol";
import { PassThrough } from "node:stream";
import { Type } from "typebox";
import type { Difference, VerifyListener, VerifyResult } from "../../verify/verifier.ts";
import { bodyOf } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { toShownError } from "../error-answer.ts";
import { requireNamedVersion } from "../named-version.ts";
import { EntityNameParams } from "../schemas.ts";
import { visibleTo } from "../visible-registry.ts";

type Dependencies = Pick<ApiDependencies, "registry" | "verifier" | "logger">;

/** Differences told one by one. */
const LIST_DEFAULT = 100;
const LIST_MAX = 10_000;

/** Between two lines of progress: often enough for a terminal, and for proxies that end silent answers. */
const PROGRESS_INTERVAL_MS = 500;

/** Silence is also ended while a verification waits for its source. */
const HEARTBEAT_INTERVAL_MS = 10_000;

/** What a client that reads slowly may leave waiting before progress is left out. */
const WAITING_BYTES_MAX = 64 * 1024;

const VerifyQuery = Type.Object({
  repair: Type.Optional(
    Type.Union([Type.Literal("true"), Type.Literal("false")], {
      description: "Log the state of each differing document once more",
    }),
  ),
  limit: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: LIST_MAX,
      default: LIST_DEFAULT,
      description: "Differences told one by one; all are counted",
    }),
  ),
});

/** `POST /api/entities/{name}/verify`: a line of JSON for each thing that is known, the result the last one. */
export function addVerifyRoutes(app: ApiInstance, { registry, verifier, logger }: Dependencies): void {
  const schema = {
    summary:
      "Compares an entity's source with its cache; answers with lines of JSON: progress, difference, and at last result or error. Closing the connection ends it",
    params: EntityNameParams,
    querystring: VerifyQuery,
    response: { 200: bodyOf("application/x-ndjson", "A line of JSON for each thing that is known") },
  };
  app.post("/api/entities/:name/verify", { config: { access: "write" }, schema }, async (request, reply) => {
    const { repair, limit: listMax = LIST_DEFAULT } = request.query;
    const { entity } = requireNamedVersion(visibleTo(request, registry), request.params.name);
    const signal = clientGoneSignal(reply);
    const begun = await verifier.begin(entity, { repair: repair === "true", listMax }, signal);
    const lines = new PassThrough();
    const write = (event: string, fields: object): void => {
      if (!lines.destroyed) lines.write(`${JSON.stringify({ event, ...fields })}\n`);
    };
    const listener = new LineListener(write, () => lines.writableLength < WAITING_BYTES_MAX);
    void begun
      .run(listener)
      .then(
        (result) => write("result", resultLine(result)),
        (error: unknown) => {
          if (!signal.aborted) write("error", { problem: toProblem(toShownError(error, request, logger)) });
        },
      )
      .finally(() => {
        listener.end();
        lines.end();
      });
    reply.header("cache-control", "no-store").type("application/x-ndjson");
    return reply.send(lines);
  });
}

class LineListener implements VerifyListener {
  readonly #write: (event: string, fields: object) => void;
  readonly #hasRoom: () => boolean;
  readonly #heartbeat: NodeJS.Timeout;
  #progress: object = { documents: 0, documents_estimate: 0, differences: 0 };
  #writtenAt = -Infinity;

  constructor(write: (event: string, fields: object) => void, hasRoom: () => boolean) {
    this.#write = write;
    this.#hasRoom = hasRoom;
    this.#heartbeat = setInterval(() => this.#tell(), HEARTBEAT_INTERVAL_MS);
    this.#tell();
  }

  onProgress({ documents, documentsEstimate, differences }: Parameters<VerifyListener["onProgress"]>[0]): void {
    this.#progress = { documents, documents_estimate: documentsEstimate, differences };
    if (performance.now() - this.#writtenAt >= PROGRESS_INTERVAL_MS) this.#tell();
  }

  onDifference({ docId, idType, ...rest }: Difference): void {
    this.#write("difference", { doc_id: docId, id_type: idType, ...rest });
  }

  end(): void {
    clearInterval(this.#heartbeat);
  }

  #tell(): void {
    if (!this.#hasRoom()) return;
    this.#writtenAt = performance.now();
    this.#write("progress", this.#progress);
  }
}

function resultLine({ copyRequested, durationMs, ...result }: VerifyResult): object {
  return { equal: result.differences === 0, ...result, copy_requested: copyRequested, duration_ms: durationMs };
}
