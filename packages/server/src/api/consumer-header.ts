import type { FastifyRequest } from "fastify";
import type { ConsumersPort } from "./api-dependencies.ts";

/**
 * Notes who asks, how far it is and what it reads, where the request says so by `emcache-consumer: NAME`.
 *
 * @throws EmcacheError `bad_request` where the name can't be one
 */
export function noteConsumer(
  request: FastifyRequest,
  consumers: Pick<ConsumersPort, "seen">,
  seen: { readonly versions: readonly number[]; readonly position: number },
): void {
  const name = request.headers["emcache-consumer"];
  if (typeof name === "string") consumers.seen({ name, ...seen });
}
