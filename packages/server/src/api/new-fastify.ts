import { EmcacheError, toProblem } from "@emcache/protocol";
import { fastify, type FastifyError, type FastifyReply, type FastifyRequest, LogController } from "fastify";
import type { Socket } from "node:net";
import type { ApiDependencies } from "./api-dependencies.ts";
import type { ApiInstance } from "./api-instance.ts";
import { sendProblem, toShownError } from "./error-answer.ts";
import { tlsOptions } from "./tls-options.ts";

/** The largest definition of an entity is far smaller. */
const BODY_BYTES_MAX = 1024 * 1024;
/** Time for a request's header, and for all of it: a client that sends a byte a minute holds no connection. */
const HEADER_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than the usual 60 s of load balancers, which must not meet a connection that is just being closed. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;
/** `GET /api/oplogs` names each entity in its query string; Node's default of 16 KiB ends at some hundred. */
const HEADER_BYTES_MAX = 64 * 1024;
/** A name in a path may be percent-encoded to three times its length. */
const PATH_PARAMETER_LENGTH_MAX = 512;

/** Fastify with our limits of size and time, by HTTP or by HTTPS; no routes yet. */
export function newFastify({ logger, tls }: Pick<ApiDependencies, "logger" | "tls">): ApiInstance {
  const options = {
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    routerOptions: { maxParamLength: PATH_PARAMETER_LENGTH_MAX },
    forceCloseConnections: "idle" as const,
    // While it stops, requests on connections that are still open are answered, and told to close.
    return503OnClosing: false,
    // Its notices of listening and of requests are not ours; its warnings and errors are.
    loggerInstance: logger.isLevelEnabled("info") ? logger.child({}, { level: "warn" }) : logger,
    logController: new LogController({ disableRequestLogging: true }),
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) =>
      void sendProblem(reply, toShownError(error, request, logger)),
    clientErrorHandler: answerClientError,
  };
  const http = {
    headersTimeout: HEADER_TIMEOUT_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
    connectionsCheckingInterval: 5_000,
  };
  // What HTTPS does otherwise is below requests and answers: for the routes it is the same instance.
  const app: unknown =
    tls === null ? fastify({ ...options, http }) : fastify({ ...options, https: { ...http, ...tlsOptions(tls) } });
  return app as ApiInstance;
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
