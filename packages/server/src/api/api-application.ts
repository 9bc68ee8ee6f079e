import { EmcacheError } from "@emcache/protocol";
import { controlAccess } from "./access-control.ts";
import type { ApiDependencies } from "./api-dependencies.ts";
import type { ApiInstance } from "./api-instance.ts";
import { BodiesInFlight } from "./bodies-in-flight.ts";
import { endStalledAnswers } from "./end-stalled-answers.ts";
import { sendProblem, toShownError } from "./error-answer.ts";
import { acceptJsonBodies } from "./json-body.ts";
import { sendLegacyError } from "./legacy-error.ts";
import { newFastify } from "./new-fastify.ts";
import { describeRoutes } from "./openapi.ts";
import { protect } from "./protect.ts";
import { compileRequestValidator } from "./request-validator.ts";
import { RouteMethods } from "./route-methods.ts";
import { addConsumerRoutes } from "./routes/consumers.ts";
import { addDocsRoutes } from "./routes/docs.ts";
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
import { traceRequests } from "./trace-requests.ts";

/** A client that takes nothing of its answer for so long is gone: its connection, memory and file are given up. */
const STALLED_TIMEOUT_MS = 120_000;
/** Of answers from the log that clients have not taken yet: sixteen of the largest, thousands of the usual ones. */
const BODIES_BYTES_MAX = 256 * 1024 * 1024;

/** The Fastify application with all routes, not yet listening. */
export function buildApiApplication(dependencies: ApiDependencies): ApiInstance {
  const { logger } = dependencies;
  const app = newFastify(dependencies);
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
    const problem = {
      description: "A problem (RFC 9457)",
      content: { "application/problem+json": { schema: ProblemSchema } },
    };
    route.schema.response = { "4xx": problem, "5xx": problem, ...(route.schema.response as object) };
  });
  protect(app, { rateLimit: dependencies.rateLimit, isHttps: dependencies.tls !== null });
  describeRoutes(app);
  // Routes that were added before these parts are loaded would be unknown to them.
  app.after(() => addRoutes(app, dependencies));
  return app;
}

function addRoutes(app: ApiInstance, dependencies: ApiDependencies): void {
  const { logger } = dependencies;
  const bodies = new BodiesInFlight(BODIES_BYTES_MAX);
  if (dependencies.tracer !== null) traceRequests(app, dependencies.tracer);
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
  addDocsRoutes(app);
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
