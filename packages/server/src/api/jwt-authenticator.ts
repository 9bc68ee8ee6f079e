import { ACCESS_SCOPES, type AccessScope, EmcacheError } from "@emcache/protocol";
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from "jose";
import type { JwtConfig } from "../config/config.ts";
import { messageOf } from "../runtime/error-message.ts";
import { Access } from "./access.ts";
import type { Authenticator } from "./authenticator.ts";

/** Signatures by a public key only: with `HS256` a public key could be taken for a shared secret, `none` signs nothing. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];

/** Clocks of issuers and ours may differ by this much. */
const CLOCK_TOLERANCE_S = 10;
/** Time for the issuer to tell its keys. Known keys are kept for ten minutes, and asked for again at an unknown one. */
const FETCH_TIMEOUT_MS = 5_000;

/**
 * `server.auth = "jwt"`: JSON Web Tokens (RFC 7519) that a key of the issuer's JWKS signed. The claim `scope` (or
 * `scp`) has `read`, `write` or `admin`, each also as `emcache:read`; the claim `emcache_entities` names entities as
 * patterns, without it all are meant. What is no such token is given to `next`.
 */
export function jwtAuthenticator({ jwksUrl, issuer, audience }: JwtConfig, next: Authenticator): Authenticator {
  const keys = createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: FETCH_TIMEOUT_MS });
  const options = {
    issuer,
    audience,
    algorithms: ALGORITHMS,
    clockTolerance: CLOCK_TOLERANCE_S,
    requiredClaims: ["exp"],
  };
  return {
    isRequired: true,
    async authenticate(token) {
      if (token === null || token.split(".").length !== 3) return next.authenticate(token);
      try {
        const { payload } = await jwtVerify(token, keys, options);
        return accessOf(payload);
      } catch (error) {
        if (error instanceof EmcacheError) throw error;
        throw refusalOf(error);
      }
    },
  };
}

function accessOf(payload: JWTPayload): Access {
  const scope = scopeOf(payload["scope"] ?? payload["scp"]);
  if (scope === null)
    throw new EmcacheError("forbidden", "The token's claim `scope` has none of read, write and admin");
  const { exp = 0, sub } = payload;
  return new Access({
    name: sub ?? "jwt",
    scope,
    entities: entitiesOf(payload["emcache_entities"]),
    isCurrent: () => Date.now() < (exp + CLOCK_TOLERANCE_S) * 1000,
  });
}

/** The highest of those that are named; a string with spaces (RFC 8693) or an array. */
function scopeOf(claim: unknown): AccessScope | null {
  const words = typeof claim === "string" ? claim.split(" ") : Array.isArray(claim) ? claim : [];
  return ACCESS_SCOPES.findLast((scope) => words.includes(scope) || words.includes(`emcache:${scope}`)) ?? null;
}

function entitiesOf(claim: unknown): string[] {
  if (claim === undefined) return ["*"];
  const names = typeof claim === "string" ? claim.split(/[ ,]+/) : claim;
  // What can't be read allows nothing.
  return Array.isArray(names) ? names.filter((name) => typeof name === "string" && name !== "") : [];
}

/** What is wrong with a token is told in general; that keys can't be had is no fault of the token. */
function refusalOf(error: unknown): EmcacheError {
  const isTokensFault = error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout);
  if (isTokensFault && error.code !== "ERR_JOSE_GENERIC") {
    return new EmcacheError("unauthorized", `The JSON Web Token does not count: ${error.message}`, { cause: error });
  }
  return new EmcacheError("keys_unavailable", `The issuer's keys can't be had: ${messageOf(error)}`, { cause: error });
}
