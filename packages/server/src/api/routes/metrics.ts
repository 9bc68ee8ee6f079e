import { bodyOf } from "../answer-schemas.ts";
import type { ApiInstance } from "../api-instance.ts";
import type { BodiesInFlight } from "../bodies-in-flight.ts";
import type { MetricsPort } from "../metrics-port.ts";

/** `GET /metrics` for Prometheus, and the measuring of all requests. To be added before the other routes. */
export function addMetricsRoute(app: ApiInstance, metrics: MetricsPort, bodies: BodiesInFlight): void {
  metrics.addQueue("bodies", () => ({ bytes: bodies.bytes, bytesMax: bodies.bytesMax }));
  app.addHook("onResponse", async (request, reply) => {
    metrics.observeRequest({
      // Node's parser takes no others, and a client can't make up new ones.
      method: request.method,
      route: request.routeOptions.url ?? "none",
      statusCode: reply.statusCode,
      durationMs: reply.elapsedTime,
    });
  });
  const schema = {
    summary: "The figures of this process, in Prometheus' text format",
    response: { 200: bodyOf("text/plain", "The exposition") },
  };
  app.get("/metrics", { config: { access: "read" }, schema }, async (request, reply) => {
    request.access.requireAllEntities();
    reply.header("cache-control", "no-store").type(metrics.contentType);
    return metrics.text();
  });
}
