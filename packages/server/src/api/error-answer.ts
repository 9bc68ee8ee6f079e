import { EmcacheError, ERROR_CATALOGUE, toProblem } from "@emcache/protocol";
import { randomUUID } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Logger } from "../runtime/logger.ts";

/** What Fastify's own errors carry. */
interface FrameworkError extends Error {
  readonly code?: string;
  readonly statusCode?: number;
}

/** Answers with the problem document of an error (RFC 9457). */
export function sendProblem(reply: FastifyReply, error: EmcacheError): FastifyReply {
  const problem = toProblem(error);
  reply.code(problem.status).header("cache-control", "no-store");
  if (error.retryable && (problem.status === 503 || problem.status === 429) && !reply.hasHeader("retry-after")) {
    reply.header("retry-after", "1");
  }
  // As bytes: to text Fastify would add a charset, which this media type doesn't have.
  return reply.header("content-type", "application/problem+json").send(Buffer.from(JSON.stringify(problem)));
}

/**
 * The error to show for whatever was thrown while a request was answered. What is not of the catalogue, and what is
 * `internal`, is logged whole under an instance id and shown as nothing but that id.
 */
export function toShownError(thrown: unknown, request: FastifyRequest, logger: Logger): EmcacheError {
  if (thrown instanceof EmcacheError && thrown.code !== "internal") {
    if (ERROR_CATALOGUE[thrown.code].status === 500)
      logger.error({ event: "request_failed", ...requestFacts(request), error: thrown }, thrown.message);
    return thrown;
  }
  const known = fromFramework(thrown as FrameworkError);
  if (known !== null) return known;
  const instance = `urn:uuid:${randomUUID()}`;
  logger.error(
    { event: "request_failed", instance, ...requestFacts(request), error: thrown },
    "an error inside EMCache",
  );
  return new EmcacheError("internal", "Something went wrong inside EMCache", { cause: thrown, details: { instance } });
}

function requestFacts(request: FastifyRequest): { method: string; url: string } {
  return { method: request.method, url: request.url.slice(0, 500) };
}

/** Errors that Fastify throws before a handler runs; null for all others. */
function fromFramework(error: FrameworkError): EmcacheError | null {
  switch (error?.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new EmcacheError("too_large", "The body is larger than the server takes");
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new EmcacheError("content_type_unsupported", "The body has no content type that this route takes");
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return new EmcacheError("bad_request", "The body's length is not its content-length");
    case "FST_ERR_BAD_URL":
      return new EmcacheError("bad_request", "The path is not valid percent-encoded UTF-8");
    case "FST_ERR_MAX_PARAM_LENGTH":
      return new EmcacheError("not_found", "There is no such route: a part of the path is too long");
    default: {
      const isClientsFault = error?.code?.startsWith("FST_") === true && (error.statusCode ?? 500) < 500;
      return isClientsFault ? new EmcacheError("bad_request", error.message) : null;
    }
  }
}
