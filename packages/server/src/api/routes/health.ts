import { Type } from "typebox";
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

/**
 * `GET /health`, and the same under `/api/health` for EMCache's earlier clients. Always 200: the process answers and
 * serves what it has, also while one of its databases is away.
 */
export function addHealthRoutes(app: ApiInstance, { health }: Pick<ApiDependencies, "health">): void {
  for (const url of ["/health", "/api/health"]) {
    const schema = { summary: "How the process and its parts are", response: { 200: HealthSchema } };
    app.get(url, { schema }, async (_request, reply) => {
      const components = health.states();
      const isHealthy = Object.values(components).every(({ status }) => status === "healthy");
      reply.header("cache-control", "no-store");
      return { status: isHealthy ? "healthy" : "degraded", timestamp: new Date().toISOString(), components };
    });
  }
}
