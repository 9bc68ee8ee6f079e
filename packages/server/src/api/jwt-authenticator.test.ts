import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { EmcacheError } from "@emcache/protocol";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWTPayload } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OPEN_ACCESS } from "./access.ts";
import { jwtAuthenticator } from "./jwt-authenticator.ts";
import { TestApi, USERS } from "./testing/test-api.ts";

let issuer: Server;
let key: CryptoKey;
let foreignKey: CryptoKey;
let publicJwk: Record<string, unknown>;
let jwksUrl: string;
let api: TestApi;
let isIssuerUp = true;

/** Knows one token of `emcache token create`. */
const next = {
  isRequired: true,
  async authenticate(token: string | null) {
    if (token === "emcache_own") return OPEN_ACCESS;
    throw new EmcacheError("unauthorized", "unknown");
  },
};

beforeAll(async () => {
  const pair = await generateKeyPair("ES256");
  key = pair.privateKey;
  foreignKey = (await generateKeyPair("ES256")).privateKey;
  publicJwk = { ...(await exportJWK(pair.publicKey)), kid: "k1", alg: "ES256" };
  issuer = createServer((_request, response) => {
    response.statusCode = isIssuerUp ? 200 : 500;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ keys: [publicJwk] }));
  });
  await new Promise<void>((resolve) => void issuer.listen(0, "127.0.0.1", resolve));
  jwksUrl = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/jwks.json`;
  const jwt = { jwksUrl, issuer: "https://login.example/", audience: "emcache" };
  api = await new TestApi({ authenticator: jwtAuthenticator(jwt, next) }).start();
  await api.add(USERS, "live");
  await api.add({ ...USERS, name: "secrets" }, "live");
});
afterAll(async () => {
  await api.close();
  issuer.closeAllConnections();
  issuer.close();
});

interface Changes {
  readonly claims?: JWTPayload;
  readonly signedBy?: CryptoKey | Uint8Array;
  readonly alg?: string;
  readonly expiresIn?: string;
}

function token({ claims = {}, signedBy = key, alg = "ES256", expiresIn = "5m" }: Changes = {}): Promise<string> {
  return new SignJWT({
    iss: "https://login.example/",
    aud: "emcache",
    sub: "ann",
    scope: "openid emcache:read",
    ...claims,
  })
    .setProtectedHeader({ alg, kid: "k1" })
    .setIssuedAt()
    .setExpirationTime(expiresIn)
    .sign(signedBy);
}

async function ask(bearer: string, path = "/api/entities", method = "GET"): Promise<{ status: number; body: unknown }> {
  const response = await api.request(path, { method, headers: { authorization: `Bearer ${bearer}` } });
  return { status: response.status, body: await response.json() };
}

test("a token of the issuer counts, with the scope and the entities of its claims", async () => {
  expect(await ask(await token())).toMatchObject({ status: 200, body: { length: 2 } });
  expect(await ask(await token(), "/api/entities/users/copy", "POST")).toMatchObject({ status: 403 });
  const some = await token({ claims: { scope: "write", emcache_entities: ["us*"] } });
  expect(await ask(some)).toMatchObject({ status: 200, body: [{ name: "users" }] });
  expect(await ask(some, "/api/entities/users/copy", "POST")).toMatchObject({ status: 202 });
  expect(await ask(some, "/api/entities/secrets")).toMatchObject({ status: 403 });
  expect(await ask(await token({ claims: { scope: undefined, scp: ["admin"] } }), "/api/tokens")).toMatchObject({
    status: 200,
  });
  expect(await ask(await token({ claims: { emcache_entities: 7 } }))).toEqual({ status: 200, body: [] });
  expect(await ask(await token({ claims: { scope: "openid" } }))).toMatchObject({ status: 403 });
});

test("tokens of `emcache token create` count too", async () => {
  expect(await ask("emcache_own")).toMatchObject({ status: 200 });
  expect(await ask("emcache_other")).toMatchObject({ status: 401 });
});

test("no other token does", async () => {
  const own = await token();
  const [head = "", payload = "", signature = ""] = own.split(".");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const changed = Buffer.from(Buffer.from(payload, "base64url").toString().replace("emcache:read", "admin")).toString(
    "base64url",
  );
  const refused = {
    "another issuer": await token({ claims: { iss: "https://evil.example/" } }),
    "another audience": await token({ claims: { aud: "billing" } }),
    "another key": await token({ signedBy: foreignKey }),
    expired: await token({ expiresIn: "-5m" }),
    "not yet": await token({ claims: { nbf: Math.floor(Date.now() / 1000) + 3600 } }),
    "the public key as a shared secret": await token({
      alg: "HS256",
      signedBy: new TextEncoder().encode(JSON.stringify(publicJwk)),
    }),
    "no signature": `${none}.${payload}.`,
    "signature cut": `${head}.${payload}.${signature.slice(2)}`,
    "payload changed": `${head}.${changed}.${signature}`,
    rubbish: "a.b.c",
  };
  for (const [what, bearer] of Object.entries(refused)) {
    expect((await ask(bearer)).status, what).toBe(401);
  }
});

test("a token without an end is none", async () => {
  const endless = await new SignJWT({ iss: "https://login.example/", aud: "emcache", scope: "read" })
    .setProtectedHeader({ alg: "ES256", kid: "k1" })
    .sign(key);
  expect(await ask(endless)).toMatchObject({ status: 401 });
});

test("an issuer that is away is no fault of the token; known keys still count", async () => {
  isIssuerUp = false;
  expect(await ask(await token())).toMatchObject({ status: 200 });
  const jwt = { jwksUrl, issuer: "https://login.example/", audience: "emcache" };
  await expect(jwtAuthenticator(jwt, next).authenticate(await token())).rejects.toMatchObject({
    code: "keys_unavailable",
  });
  isIssuerUp = true;
});
