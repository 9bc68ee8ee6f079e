import type { FastifyRequest } from "fastify";
import type { Span, Tracer } from "../runtime/tracer.ts";
import type { ApiInstance } from "./api-instance.ts";

/** A span a request, named as OpenTelemetry's semantic conventions for HTTP say. */
export function traceRequests(app: ApiInstance, tracer: Tracer): void {
  const spans = new WeakMap<FastifyRequest["raw"], Span>();
  app.addHook("onRequest", async ({ raw, method, routeOptions, headers }) => {
    const route = routeOptions.url ?? "none";
    const { traceparent } = headers;
    const span = tracer.span(`${method} ${route}`, {
      attributes: { "http.request.method": method, "http.route": route },
      isServer: true,
      ...(typeof traceparent === "string" ? { parent: traceparent } : {}),
    });
    spans.set(raw, span);
  });
  app.addHook("onResponse", async ({ raw }, { statusCode }) => {
    const span = spans.get(raw);
    span?.set({ "http.response.status_code": statusCode });
    span?.end(statusCode >= 500 ? new Error(`status ${statusCode}`) : undefined);
    spans.delete(raw);
  });
  app.addHook("onRequestAbort", async ({ raw }) => {
    spans.get(raw)?.end(new Error("the client went away"));
    spans.delete(raw);
  });
}
