import { expect, test } from "vitest";
import { loadConfig } from "./load-config.ts";

function load(flags: Record<string, string>): ReturnType<typeof loadConfig>["server"] {
  return loadConfig({ env: {}, flags, cwd: "/nonexistent" }).server;
}

test("nothing is asked for by default, on this machine only", () => {
  const { host, auth, jwt, tls, rateLimit } = load({});
  expect({ host, auth, jwt, tls, rateLimit }).toEqual({
    host: "127.0.0.1",
    auth: "none",
    jwt: null,
    tls: null,
    rateLimit: 0,
  });
});

test("files of TLS are relative to the working directory; JWT has what it needs", () => {
  const { tls, jwt } = load({
    "server.tls.cert": "a.crt",
    "server.tls.key": "/etc/a.key",
    "server.auth": "jwt",
    "server.jwt.jwks_url": "https://login.example.com/jwks",
    "server.jwt.issuer": "https://login.example.com/",
  });
  expect(tls).toEqual({ cert: "/nonexistent/a.crt", key: "/etc/a.key" });
  expect(jwt).toMatchObject({ audience: "emcache" });
});

test.each([
  [{ "server.auth": "password" }, /"password" is unknown; expected none, token, jwt/],
  [{ "server.auth": "jwt" }, /server.jwt.jwks_url: is missing/],
  [{ "server.tls.cert": "a.crt" }, /cert and key go together/],
  [{ "server.jwt.jwks_url": "ftp://x" }, /is no URL/],
  [{ "server.query_timeout": "0" }, /does not fit/],
])("%j is a mistake", (flags, words) => {
  expect(() => load(flags as Record<string, string>)).toThrow(
    expect.objectContaining({ code: "config_invalid", errors: expect.arrayContaining([expect.stringMatching(words)]) }),
  );
});
