import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import type {
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from "fastify";
import type { Logger } from "../runtime/logger.ts";

declare module "fastify" {
  /** What OpenAPI shows of a route; the same as @fastify/swagger declares. */
  interface FastifySchema {
    summary?: string;
  }
}

/** The Fastify instance that routes are added to: its handlers' parameters have the types of their schemas. */
export type ApiInstance = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  Logger,
  TypeBoxTypeProvider
>;
