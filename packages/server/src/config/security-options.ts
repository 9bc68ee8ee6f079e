import { booleanOption, integerOption, secondsOption, textOption } from "./option.ts";
import { checkUrl } from "./snapshot-options.ts";

/** How requests prove who they are. */
export const AUTH_MODES = ["none", "token", "jwt"] as const;
export type AuthMode = (typeof AUTH_MODES)[number];

/** The settings of who may use the API and how, by their key in config.toml. */
export const SECURITY_OPTIONS = {
  "server.auth": textOption({
    description:
      "Who may use the API. none: whoever reaches it. token: requests with a bearer token that `emcache token create` made. jwt: requests with a JSON Web Token that a key of `server.jwt.jwks_url` signed; tokens of `emcache token create` count too.",
    type: AUTH_MODES.map((mode) => `"${mode}"`).join(" or "),
    default: "none",
    reason: "the API listens on this machine only, unless `server.host` says otherwise (then the log warns)",
    check(value) {
      if (!AUTH_MODES.some((mode) => mode === value)) {
        throw new RangeError(`${JSON.stringify(value)} is unknown; expected ${AUTH_MODES.join(", ")}`);
      }
    },
  }),
  "server.jwt.jwks_url": textOption({
    description: "Where the keys of JSON Web Tokens are (RFC 7517), as the issuer's `jwks_uri` says.",
    type: "http:// or https:// URL",
    default: "",
    reason: 'needed with `server.auth = "jwt"` only',
    example: "https://login.example.com/.well-known/jwks.json",
    check: checkUrl,
  }),
  "server.jwt.issuer": textOption({
    description: "What the claim `iss` of a JSON Web Token has to be.",
    type: "text",
    default: "",
    reason: 'needed with `server.auth = "jwt"` only',
    example: "https://login.example.com/",
    check: () => undefined,
  }),
  "server.jwt.audience": textOption({
    description: "What the claim `aud` of a JSON Web Token has to name.",
    type: "text",
    default: "emcache",
    reason: "a token that was made for another service must not open this one",
    check: () => undefined,
  }),
  "server.tls.cert": textOption({
    description:
      "File of the certificate chain (PEM). With it the API speaks HTTPS only; SIGHUP reads it and the key again.",
    type: "path",
    default: "",
    reason: "plain HTTP: TLS often ends at a proxy",
    example: "/etc/emcache/tls.crt",
    check: () => undefined,
  }),
  "server.tls.key": textOption({
    description: "File of the certificate's private key (PEM).",
    type: "path",
    default: "",
    reason: "goes with `server.tls.cert`",
    example: "/etc/emcache/tls.key",
    check: () => undefined,
  }),
  "server.rate_limit": integerOption({
    description: "Requests a minute that one client address may send; more are answered 429. 0 is no limit.",
    min: 0,
    max: 10_000_000,
    unit: "requests a minute",
    default: 0,
    reason: "behind a proxy all requests come from one address; set it where clients connect themselves",
  }),
  "server.query": booleanOption({
    description: "Whether POST /api/entities/{name}/query runs SELECTs over a cache.",
    default: true,
    reason: "it reads what a token may read anyway, within limits",
  }),
  "server.query_timeout": secondsOption({
    description: "How long one such query may run before it is interrupted.",
    min: 0.01,
    max: 3_600,
    default: 10,
    reason: "enough for an index or a scan of some million rows; two queries run at a time",
  }),
} as const;
