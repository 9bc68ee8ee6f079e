import { type AccessScope, EmcacheError } from "@emcache/protocol";
import type { FastifyRequest } from "fastify";
import type { Logger } from "../runtime/logger.ts";
import { type Access, PUBLIC_ACCESS } from "./access.ts";
import type { ApiInstance } from "./api-instance.ts";
import type { Authenticator } from "./authenticator.ts";

/** What a route asks of its requests: a scope, or nothing. */
export type RouteAccess = AccessScope | "public";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Every route declares it; one that doesn't keeps the API from starting. */
    access?: RouteAccess;
  }
  interface FastifyRequest {
    /** Who sends the request. */
    access: Access;
  }
}

/** Refused requests are told at most this often: whoever floods us must not flood the log. */
const TOLD_INTERVAL_MS = 10_000;

/**
 * Authenticates each request and compares what its token allows with what its route declares, before anything of the
 * body is read; which entities it may use, `visibleTo` tells.
 */
export function controlAccess(app: ApiInstance, authenticator: Authenticator, logger: Logger): void {
  const refusals = new Refusals(logger);
  app.addHook("onRoute", ({ method, url, config }) => {
    if (config?.access === undefined) throw new TypeError(`the route ${String(method)} ${url} declares no access`);
  });
  app.decorateRequest("access");
  // After the limit of requests, which is an onRequest hook of each route, and before the body.
  app.addHook("preParsing", async (request, reply) => {
    const { access } = request.routeOptions.config;
    try {
      if (access === undefined || (access === "public" && request.headers.authorization === undefined)) {
        request.access = authenticator.isRequired ? PUBLIC_ACCESS : await authenticator.authenticate(null);
        return;
      }
      if (!authenticator.isRequired) refuseForeignPages(request);
      request.access = await authenticator.authenticate(bearerToken(request.headers.authorization));
      if (access !== "public") request.access.requireScope(access);
    } catch (error) {
      if (access === "public") {
        request.access = PUBLIC_ACCESS;
        return;
      }
      if (error instanceof EmcacheError && error.code === "unauthorized") {
        reply.header("www-authenticate", `Bearer realm="emcache"`);
      }
      refusals.tell(request, error);
      throw error;
    }
  });
}

/** The token of `authorization: Bearer TOKEN` (RFC 6750); null where there is none. */
function bearerToken(header: string | undefined): string | null {
  return header === undefined ? null : (/^bearer +([\w.~+/=-]{1,8192}) *$/i.exec(header)?.[1] ?? null);
}

/**
 * A page of another site must not change anything with a form or a `fetch` that its visitor's browser sends here: the
 * browser says where such a request comes from (https://www.w3.org/TR/fetch-metadata/, or the header `origin`).
 */
function refuseForeignPages({ headers, method }: FastifyRequest): void {
  if (method === "GET" || method === "HEAD" || method === "OPTIONS") return;
  const site = headers["sec-fetch-site"];
  const isForeign = site === undefined ? hasForeignOrigin(headers) : site !== "same-origin" && site !== "none";
  if (isForeign) {
    throw new EmcacheError("forbidden", "A page of another site sent this", {
      hint: "Only EMCache's own page and programs may change something.",
    });
  }
}

function hasForeignOrigin({ origin, host, "x-forwarded-host": forwardedHost }: FastifyRequest["headers"]): boolean {
  if (origin === undefined) return false;
  if (!URL.canParse(origin)) return true;
  return ![host, forwardedHost].includes(new URL(origin).host);
}

class Refusals {
  readonly #logger: Logger;
  #count = 0;
  #toldAtMs = -Infinity;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  tell(request: FastifyRequest, error: unknown): void {
    this.#count += 1;
    if (!(error instanceof EmcacheError) || performance.now() - this.#toldAtMs < TOLD_INTERVAL_MS) return;
    const { method, ip, routeOptions } = request;
    const facts = {
      event: "access_refused",
      code: error.code,
      method,
      route: routeOptions.url,
      ip,
      count: this.#count,
    };
    this.#logger.warn(facts, "requests were refused");
    this.#toldAtMs = performance.now();
    this.#count = 0;
  }
}
