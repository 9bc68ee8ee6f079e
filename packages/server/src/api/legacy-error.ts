import { ERROR_CATALOGUE, type EmcacheError } from "@emcache/protocol";
import type { FastifyReply } from "fastify";

/**
 * An error as EMCache's earlier server answered it, for the clients that were written for it: `{"reason"}` for a
 * request that could not be read, `{"errors"}` for one with mistakes, `{"error"}` for all else. Programs written
 * against our own routes get RFC 9457 documents instead.
 */
export function sendLegacyError(reply: FastifyReply, error: EmcacheError): FastifyReply {
  reply.header("cache-control", "no-store").type("application/json; charset=utf-8");
  switch (error.code) {
    case "body_not_json":
    case "content_type_unsupported":
    case "too_large":
      return reply.code(ERROR_CATALOGUE[error.code].status).send({ reason: error.message });
    case "bad_request":
    case "entity_invalid":
      return reply.code(400).send(error.errors.length > 0 ? { errors: error.errors } : { reason: error.message });
    case "entity_exists":
      return reply.code(400).send({ error: "Entity already exists" });
    case "entity_not_found":
      return reply.code(404).send({ error: "Entity not found" });
    default: {
      const { status } = ERROR_CATALOGUE[error.code];
      if (status === 503 || status === 429) reply.header("retry-after", "1");
      return reply.code(status).send({ error: error.message });
    }
  }
}
