import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import { EmcacheError } from "@emcache/protocol";
import type { ApiInstance } from "./api-instance.ts";

/** Client addresses whose requests are counted at once; beyond, those that were silent longest are forgotten. */
const ADDRESSES_MAX = 10_000;
/** How long browsers that came by HTTPS come by nothing else. */
const HSTS_S = 31_536_000;

interface Protection {
  /** Requests a minute of one address; 0: no limit. */
  readonly rateLimit: number;
  readonly isHttps: boolean;
}

/** Headers that keep browsers from doing with answers what they are not meant for, and a limit of requests. */
export function protect(app: ApiInstance, { rateLimit: max, isHttps }: Protection): void {
  app.register(helmet, {
    // Answers are data: a browser that shows one as a page loads and runs nothing. The web page has a policy of its own.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { "default-src": ["'none'"], "frame-ancestors": ["'none'"] },
    },
    referrerPolicy: { policy: "no-referrer" },
    strictTransportSecurity: isHttps ? { maxAge: HSTS_S, includeSubDomains: false } : false,
  });
  if (max === 0) return;
  app.register(rateLimit, {
    max,
    timeWindow: 60_000,
    cache: ADDRESSES_MAX,
    // Probes must not fail because of what others at the same address do.
    allowList: (request) => request.routeOptions.config.access === "public",
    errorResponseBuilder: (_request, { after }) =>
      new EmcacheError(
        "rate_limited",
        `More than ${max} requests a minute came from this address; try again in ${after}`,
      ),
  });
}
