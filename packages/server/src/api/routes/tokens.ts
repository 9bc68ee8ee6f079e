import { EmcacheError } from "@emcache/protocol";
import { Type } from "typebox";
import { DoneSchema } from "../answer-schemas.ts";
import type { ApiDependencies } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";
import { clientGoneSignal } from "../client-gone.ts";
import { NAME_PATTERN_FORM } from "../name-pattern.ts";
import { parseTime } from "../parse-time.ts";

const ADMIN = { access: "admin" } as const;

/** Patterns of one token at most. */
const ENTITIES_MAX = 100;

const Scope = Type.Union([Type.Literal("read"), Type.Literal("write"), Type.Literal("admin")], {
  description: "write includes read, admin both",
});
const Name = Type.String({ pattern: "^[A-Za-z0-9._@-]{1,100}$", description: "1 to 100 letters, digits and . _ @ -" });

const TokenInfoSchema = Type.Object({
  name: Type.String(),
  scope: Scope,
  entities: Type.Array(Type.String(), { description: "Patterns of entity names" }),
  created_at: Type.String({ description: "RFC 3339, UTC" }),
  expires_at: Type.Union([Type.String(), Type.Null()]),
});
const NewTokenSchema = Type.Object({
  ...TokenInfoSchema.properties,
  token: Type.String({ description: "The token; it is told this once" }),
});
const TokenBody = Type.Object({
  name: Name,
  scope: Scope,
  entities: Type.Optional(
    Type.Array(Type.String({ pattern: NAME_PATTERN_FORM }), {
      minItems: 1,
      maxItems: ENTITIES_MAX,
      description: "Names of entities, `*` for any characters, `?` for one. Default: all",
    }),
  ),
  expires_at: Type.Optional(
    Type.Union([Type.Null(), Type.String({ maxLength: 40 })], { description: "RFC 3339. Default: never" }),
  ),
});
const TokenParams = Type.Object({ name: Type.String({ description: "Name of a token" }) });

/** `/api/tokens`: the bearer tokens, for those whose own has the scope `admin`. */
export function addTokenRoutes(app: ApiInstance, { tokens, logger }: Pick<ApiDependencies, "tokens" | "logger">): void {
  const listSchema = {
    summary: "All bearer tokens, without themselves",
    response: { 200: Type.Array(TokenInfoSchema) },
  };
  app.get("/api/tokens", { config: ADMIN, schema: listSchema }, async (request, reply) => {
    request.access.requireAllEntities();
    const found = await tokens.list(clientGoneSignal(reply));
    reply.header("cache-control", "no-store");
    return found.map(({ name, scope, entities, created_at, expires_at }) => {
      return { name, scope, entities: [...entities], created_at, expires_at };
    });
  });

  const createSchema = { summary: "Makes a bearer token", body: TokenBody, response: { 201: NewTokenSchema } };
  app.post("/api/tokens", { config: ADMIN, schema: createSchema }, async (request, reply) => {
    request.access.requireAllEntities();
    const { name, scope, entities = ["*"], expires_at: expiry = null } = request.body;
    const expiresAt = expiry === null ? null : expiryOf(expiry);
    const { token, info } = await tokens.create({ name, scope, entities, expiresAt }, clientGoneSignal(reply));
    logger.info({ event: "token_created", name, scope, entities, by: request.access.name }, "a token was made");
    reply.code(201).header("cache-control", "no-store");
    return { ...info, entities: [...info.entities], token };
  });

  const revokeSchema = {
    summary: "Revokes a bearer token; within seconds no process takes it any more",
    params: TokenParams,
    response: { 200: DoneSchema },
  };
  app.delete("/api/tokens/:name", { config: ADMIN, schema: revokeSchema }, async (request, reply) => {
    request.access.requireAllEntities();
    const { name } = request.params;
    if (!(await tokens.revoke(name, clientGoneSignal(reply)))) {
      throw new EmcacheError("token_not_found", `There is no token ${JSON.stringify(name.slice(0, 200))}`);
    }
    logger.info({ event: "token_revoked", name, by: request.access.name }, "a token was revoked");
    return { message: "Token revoked", name };
  });
}

/** RFC 3339, UTC. @throws EmcacheError `bad_request` */
function expiryOf(text: string): string {
  return new Date(parseTime(text) * 1000).toISOString();
}
