import { EmcacheError } from "@emcache/protocol";
import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import type { ApiDependencies, SiteFile, SitePort } from "../api-dependencies.ts";
import type { ApiInstance } from "../api-instance.ts";

/** The page holds nothing; what it shows it has to ask for, with a token. */
const PUBLIC = { access: "public" } as const;

const AssetParams = Type.Object({ "*": Type.String({ description: "Path of a file of the web page" }) });

/** `/` and `/assets/…`: the web page. Everything that it shows it reads from the other routes. */
export function addSiteRoutes(app: ApiInstance, { site }: Pick<ApiDependencies, "site">): void {
  if (site === null) return;
  app.get("/", { config: PUBLIC }, async (request, reply) => {
    await sendSiteFile(request, reply, site, await site.page());
    return reply;
  });
  const schema = { params: AssetParams };
  app.get("/assets/*", { config: PUBLIC, schema }, async (request, reply) => {
    const file = await site.asset(request.params["*"]);
    if (file === null) throw new EmcacheError("not_found", "The web page has no such file");
    await sendSiteFile(request, reply, site, file);
    return reply;
  });
}

/** Sends a file with what keeps the page to itself; the browser asks each time whether its copy is still the one. */
async function sendSiteFile(
  request: FastifyRequest,
  reply: FastifyReply,
  site: SitePort,
  { body, type }: SiteFile,
): Promise<void> {
  const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  reply.headers({
    "content-security-policy": await site.contentSecurityPolicy(),
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
    etag,
  });
  if (request.headers["if-none-match"] === etag) reply.code(304).send();
  else reply.type(type).send(body);
}
