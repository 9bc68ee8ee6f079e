import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import { EmcacheError, toProblem } from "@emcache/protocol";
import { fastify, LogController } from "fastify";
import type { Socket } from "node:net";
import { controlAccess } from "./access-control.ts";
import type { ApiDependencies } from "./api-dependencies.ts";
import type { ApiInstance } from "./api-instance.ts";
import { BodiesInFlight } from "./bodies-in-flight.ts";
import { endStalledAnswers } from "./end-stalled-answers.ts";
import { sendProblem, toShownError } from "./error-answer.ts";
import { acceptJsonBodies } from "./json-body.ts";
import { sendLegacyError } from "./legacy-error.ts";
import { compileRequestValidator } from "./request-validator.ts";
import { RouteMethods } from "./route-methods.ts";
import { addConsumerRoutes } from "./routes/consumers.ts";
import { addEntityRoutes } from "./routes/entities.ts";
import { addEntityCopyRoutes } from "./routes/entity-copy.ts";
import { addFollowRoutes } from "./routes/follow.ts";
import { addHealthRoutes } from "./routes/health.ts";
import { addLegacyEntityRoutes } from "./routes/legacy-entity.ts";
import { addLegacyOplogRoutes } from "./routes/legacy-oplogs.ts";
import { addLegacySnapshotRoutes } from "./routes/legacy-snapshot.ts";
import { addMetricsRoute } from "./routes/metrics.ts";
import { addOplogStreamRoute } from "./routes/oplog-stream.ts";
import { addOplogRoutes } from "./routes/oplogs.ts";
import { addQueryRoute } from "./routes/query.ts";
import { addSiteRoutes } from "./routes/site.ts";
import { addSnapshotRoutes } from "./routes/snapshots.ts";
import { addTokenRoutes } from "./routes/tokens.ts";
import { addVerifyRoutes } from "./routes/verify.ts";
import { ProblemSchema } from "./schemas.ts";

/** The largest definition of an entity is far smaller. */
const BODY_BYTES_MAX = 1024 * 1024;
/** Time for a request's header, and for all of it: a client that sends a byte a minute holds no connection. */
const HEADER_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than the usual 60 s of load balancers, which must not meet a connection that is just being closed. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;
/** `GET /api/oplogs` names each entity in its query string; Node's default of 16 KiB ends at some hundred. */
const HEADER_BYTES_MAX = 64 * 1024;
/** A client that takes nothing of its answer for so long is gone: its connection, memory and file are given up. */
const STALLED_TIMEOUT_MS = 120_000;
/** Of answers from the log that clients have not taken yet: sixteen of the largest, thousands of the usual ones. */
const BODIES_BYTES_MAX = 256 * 1024 * 1024;
/** A name in a path may be percent-encoded to three times its length. */
const PATH_PARAMETER_LENGTH_MAX = 512;

/** The Fastify application with all routes, not yet listening. */
export function buildApiApplication(dependencies: ApiDependencies): ApiInstance {
  const { logger } = dependencies;
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: { headersTimeout: HEADER_TIMEOUT_MS, maxHeaderSize: HEADER_BYTES_MAX, connectionsCheckingInterval: 5_000 },
    routerOptions: { maxParamLength: PATH_PARAMETER_LENGTH_MAX },
    forceCloseConnections: "idle",
    // While it stops, requests on connections that are still open are answered, and told to close.
    return503OnClosing: false,
    // Its notices of listening and of requests are not ours; its warnings and errors are.
    loggerInstance: logger.isLevelEnabled("info") ? logger.child({}, { level: "warn" }) : logger,
    logController: new LogController({ disableRequestLogging: true }),
    frameworkErrors: (error, request, reply) => void sendProblem(reply, toShownError(error, request, logger)),
    clientErrorHandler: answerClientError,
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.setValidatorCompiler(compileRequestValidator);
  // Answers are printed as they are: the schemas describe them, they don't cut them.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  acceptJsonBodies(app);
  endStalledAnswers(app, STALLED_TIMEOUT_MS);
  addErrorHandlers(app, dependencies);
  controlAccess(app, dependencies.authenticator, logger);
  app.addHook("onRoute", (route) => {
    // The Go client's routes have no description of their own: they are no part of the documented API.
    if (route.schema?.summary === undefined) return;
    route.schema.response = { "4xx": ProblemSchema, "5xx": ProblemSchema, ...(route.schema.response as object) };
  });
  addRoutes(app, dependencies);
  return app;
}

function addRoutes(app: ApiInstance, dependencies: ApiDependencies): void {
  const { logger } = dependencies;
  const bodies = new BodiesInFlight(BODIES_BYTES_MAX);
  if (dependencies.metrics !== null) addMetricsRoute(app, dependencies.metrics, bodies);
  addHealthRoutes(app, dependencies);
  addEntityRoutes(app, dependencies);
  addEntityCopyRoutes(app, dependencies);
  addOplogRoutes(app, dependencies);
  addOplogStreamRoute(app, { ...dependencies, bodies });
  addFollowRoutes(app, { ...dependencies, bodies });
  addConsumerRoutes(app, dependencies);
  addSnapshotRoutes(app, dependencies);
  addQueryRoute(app, dependencies);
  addVerifyRoutes(app, dependencies);
  addTokenRoutes(app, dependencies);
  addSiteRoutes(app, dependencies);
  app.register(async (legacy: ApiInstance) => {
    legacy.setErrorHandler((error, request, reply) => {
      if (!isClientGone(reply.raw.destroyed, reply.sent)) sendLegacyError(reply, toShownError(error, request, logger));
    });
    addLegacyEntityRoutes(legacy, dependencies);
    addLegacyOplogRoutes(legacy, { ...dependencies, bodies });
    addLegacySnapshotRoutes(legacy, dependencies);
  });
}

function addErrorHandlers(app: ApiInstance, { logger }: ApiDependencies): void {
  const routes = new RouteMethods();
  app.addHook("onRoute", ({ url, method }) => routes.add(url, method));
  app.addHook("onSend", async (_request, reply) => {
    // No browser guesses another type than the one that is sent.
    reply.header("x-content-type-options", "nosniff");
  });
  app.setErrorHandler((error, request, reply) => {
    if (!isClientGone(reply.raw.destroyed, reply.sent)) sendProblem(reply, toShownError(error, request, logger));
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?", 1)[0] ?? "";
    const allowed = routes.allowed(path);
    if (allowed.length === 0 || allowed.includes(request.method)) {
      return sendProblem(
        reply,
        new EmcacheError("not_found", `There is no route ${request.method} ${path.slice(0, 200)}`),
      );
    }
    reply.header("allow", allowed.join(", "));
    return sendProblem(
      reply,
      new EmcacheError(
        "method_not_allowed",
        `${path.slice(0, 200)} has no method ${request.method}; it has ${allowed.join(", ")}`,
      ),
    );
  });
}

/** Whether nobody reads an answer any more, or it has begun and can only be cut off. */
function isClientGone(isDestroyed: boolean, isSent: boolean): boolean {
  return isDestroyed || isSent;
}

/** What Node's HTTP parser could not read never becomes a request; the answer is written by hand. */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  // Bytes after a request that was to be the connection's last: its answer may still be on its way.
  if (error.code === "HPE_CLOSED_CONNECTION") return;
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, shown] = clientError(error.code);
  const body = JSON.stringify({ ...toProblem(shown), status: Number(status.slice(0, 3)) });
  const head = `HTTP/1.1 ${status}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
  socket.end(head + body);
}

function clientError(code: string | undefined): [status: string, error: EmcacheError] {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return [
        "431 Request Header Fields Too Large",
        new EmcacheError("too_large", "The request's header is too large"),
      ];
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return ["408 Request Timeout", new EmcacheError("bad_request", "The request did not arrive in time")];
    default:
      return ["400 Bad Request", new EmcacheError("bad_request", "The request is not HTTP/1.1")];
  }
}
