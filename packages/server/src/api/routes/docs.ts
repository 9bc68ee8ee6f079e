import { EmcacheError } from "@emcache/protocol";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { ApiInstance } from "../api-instance.ts";

const PUBLIC = { access: "public" } as const;

/** The page's files in the package @fastify/swagger-ui, whose authors keep Swagger UI's without what it phones home by. */
const FILES: Readonly<Record<string, string>> = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
};

const PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>EMCache API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="data:,"></head>
<body><div id="reference"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
`;
const START = `SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null, persistAuthorization: false,
});
`;

/** Swagger UI sets styles as it goes and has its icons as data; it loads and asks nothing but this server. */
const POLICY = [
  "default-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
].join("; ");

const AnyDocument = Type.Object({}, { additionalProperties: true });
const FileParams = Type.Object({ file: Type.String({ description: "A file of the reference page" }) });

/** `/openapi.json`, the description of the API, and `/docs`, a page that shows it; nothing comes from elsewhere. */
export function addDocsRoutes(app: ApiInstance): void {
  const schema = { summary: "This description (OpenAPI 3.1)", response: { 200: AnyDocument } };
  app.get("/openapi.json", { config: PUBLIC, schema }, async (_request, reply) => {
    reply.header("cache-control", "no-cache");
    return app.swagger();
  });
  app.get("/docs", { config: PUBLIC }, async (request, reply) => {
    sendFile(request, reply, Buffer.from(PAGE), "text/html; charset=utf-8");
    return reply;
  });
  app.get("/docs/:file", { config: PUBLIC, schema: { params: FileParams } }, async (request, reply) => {
    const { file } = request.params;
    if (file === "start.js") {
      sendFile(request, reply, Buffer.from(START), FILES["swagger-ui-bundle.js"] ?? "");
      return reply;
    }
    // Names of a list: nothing outside of it can be named.
    const type = Object.hasOwn(FILES, file) ? FILES[file] : undefined;
    if (type === undefined) throw new EmcacheError("not_found", "The reference page has no such file");
    sendFile(request, reply, await readFile(join(pageFolder(), file)), type);
    return reply;
  });
}

function pageFolder(): string {
  return join(dirname(fileURLToPath(import.meta.resolve("@fastify/swagger-ui"))), "static");
}

function sendFile(request: FastifyRequest, reply: FastifyReply, body: Buffer, type: string): void {
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  reply.headers({ "content-security-policy": POLICY, "cache-control": "no-cache", etag });
  if (request.headers["if-none-match"] === etag) reply.code(304).send();
  else reply.type(type).send(body);
}
