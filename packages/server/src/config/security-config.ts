import { resolve } from "node:path";
import type { Config } from "./config.ts";
import type { OptionValues } from "./option-table.ts";
import { AUTH_MODES } from "./security-options.ts";

/** The settings of who may use the API, put together. */
export function securityOf(
  values: OptionValues,
  cwd: string,
): Pick<Config["server"], "auth" | "jwt" | "tls" | "rateLimit" | "query"> {
  const auth = AUTH_MODES.find((mode) => mode === values["server.auth"]) ?? "none";
  const cert = values["server.tls.cert"];
  const key = values["server.tls.key"];
  return {
    auth,
    jwt:
      auth === "jwt"
        ? {
            jwksUrl: values["server.jwt.jwks_url"],
            issuer: values["server.jwt.issuer"],
            audience: values["server.jwt.audience"],
          }
        : null,
    tls: cert === "" ? null : { cert: resolve(cwd, cert), key: resolve(cwd, key) },
    rateLimit: values["server.rate_limit"],
    query: { isEnabled: values["server.query"], timeoutS: values["server.query_timeout"] },
  };
}

/** What is wrong with them together, each mistake a line. */
export function checkSecurity(values: OptionValues): string[] {
  const mistakes: string[] = [];
  if ((values["server.tls.cert"] === "") !== (values["server.tls.key"] === "")) {
    mistakes.push("server.tls: cert and key go together; one of them is missing");
  }
  if (values["server.auth"] === "jwt") {
    for (const key of ["server.jwt.jwks_url", "server.jwt.issuer", "server.jwt.audience"] as const) {
      if (values[key] === "") mistakes.push(`${key}: is missing; server.auth = "jwt" needs it`);
    }
  }
  return mistakes;
}
