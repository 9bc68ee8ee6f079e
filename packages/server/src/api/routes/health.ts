import { Type } from "typebox";
import { PUBLIC_ACCESS } from "../access.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";

const ComponentSchema = Type.Object({
  status: Type.String({ description: "healthy, degraded or stopped" }),
  since: Type.String({ description: "RFC 3339, UTC" }),
  reason: Type.Union([Type.String(), Type.Null()]),
  code: Type.Union([Type.String(), Type.Null()]),
  hint: Type.Union([Type.String(), Type.Null()]),
  retry: Type.Optional(
    Type.Object(
      {
        attempt: Type.Integer({ description: "Failures in a row" }),
        next_try_at: Type.String({ description: "RFC 3339, UTC" }),
      },
      { description: "While the part waits to try again" },
    ),
  ),
});

const HealthSchema = Type.Object({
  status: Type.String({ description: "healthy if every component is, otherwise degraded" }),
  timestamp: Type.String({ description: "RFC 3339, UTC" }),
  components: Type.Record(Type.String(), ComponentSchema),
});

const LiveSchema = Type.Object({ status: Type.Literal("live") });

const ReadySchema = Type.Object({
  status: Type.String({ description: "ready, starting or stopping" }),
  components: Type.Record(Type.String(), ComponentSchema),
});

/**
 * `GET /health`, and the same under `/api/health` for EMCache's earlier clients. Always 200: the process answers and
 * serves what it has, also while one of its databases is away. `/health/live` and `/health/ready` are for whoever
 * restarts processes and sends them requests (Kubernetes, "Liveness, Readiness and Startup Probes").
 */
export function addHealthRoutes(app: ApiInstance, { health }: Pick<ApiDependencies, "health">): void {
  for (const url of ["/health", "/api/health"]) {
    const schema = { summary: "How the process and its parts are", response: { 200: HealthSchema } };
    app.get(url, { config: { access: "read" }, schema }, async (_request, reply) => {
      const components = health.states();
      const isHealthy = Object.values(components).every(({ status }) => status === "healthy");
      reply.header("cache-control", "no-store");
      return { status: isHealthy ? "healthy" : "degraded", timestamp: new Date().toISOString(), components };
    });
  }
  const liveSchema = { summary: "Whether the process answers", response: { 200: LiveSchema } };
  app.get("/health/live", { config: { access: "public" }, schema: liveSchema }, async (_request, reply) => {
    reply.header("cache-control", "no-store");
    return { status: "live" as const };
  });
  const readySchema = {
    summary: "Whether the process should be sent requests, with each part's state and since when",
    response: { 200: ReadySchema, 503: ReadySchema },
  };
  app.get("/health/ready", { config: { access: "public" }, schema: readySchema }, async (request, reply) => {
    const components = health.states();
    const states = Object.values(components);
    // A part that fails does not make the process useless: it serves what it has while a database is away, and taking
    // all processes out at once would take that from everybody.
    const isStarting = states.some(({ reason }) => reason === "starting");
    const isStopping = states.some(({ status }) => status === "stopped");
    const status = isStopping ? "stopping" : isStarting ? "starting" : "ready";
    reply.code(status === "ready" ? 200 : 503).header("cache-control", "no-store");
    // Reasons name hosts: whoever shows no token is told no more than a balancer needs.
    return { status, components: request.access === PUBLIC_ACCESS ? {} : components };
  });
}
