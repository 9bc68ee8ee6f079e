import swagger from "@fastify/swagger";
import type { ApiInstance } from "./api-instance.ts";

/** By the path's first word below /api. */
const TAGS: Readonly<Record<string, string>> = {
  entities: "Entities",
  oplogs: "Log",
  follow: "Log",
  logs: "Log",
  consumers: "Log",
  snapshots: "Snapshots",
  tokens: "Tokens",
};

/** Gathers the schemas of the routes that are added after it into one description (OpenAPI 3.1). */
export function describeRoutes(app: ApiInstance): void {
  app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "EMCache",
        version: "1",
        description:
          "Keeps MongoDB collections in local SQLite files, in real time. Errors are problem documents (RFC 9457) with a `code` of docs/errors.md. EMCache's earlier Go client has routes of its own beside these.",
        license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      },
      servers: [{ url: "/" }],
      tags: ["Entities", "Log", "Snapshots", "Tokens", "Process"].map((name) => ({ name })),
      components: {
        securitySchemes: {
          bearer: {
            type: "http",
            scheme: "bearer",
            description:
              '`server.auth = "token"`: a token that `emcache token create` made; `"jwt"`: a JSON Web Token too',
          },
        },
      },
    },
    hideUntagged: true,
    transform: ({ schema, url, route }) => {
      // The Go client's routes have no description: they are no part of the documented API.
      if (schema?.summary === undefined) return { schema, url };
      const access = route.config?.access;
      const isPublic = access === undefined || access === "public";
      const tag = TAGS[/^\/api\/([^/]*)/.exec(url)?.[1] ?? ""] ?? "Process";
      return {
        schema: {
          ...schema,
          tags: [tag],
          operationId: operationId(String(route.method), url),
          ...(isPublic ? {} : { description: `Scope: ${access}.`, security: [{ bearer: [] }, {}] }),
        },
        url,
      };
    },
  });
}

/** `GET /api/entities/:name` becomes `get_api_entities_name`: stable, for generated clients. */
function operationId(method: string, url: string): string {
  return `${method.toLowerCase()}${url.replaceAll(/[^A-Za-z0-9]+/g, "_")}`.replace(/_$/, "");
}
