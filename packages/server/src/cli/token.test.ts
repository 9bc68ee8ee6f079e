import { afterEach, beforeEach, expect, test } from "vitest";
import { openAuthenticator } from "../api/authenticator.ts";
import { TestApi } from "../api/testing/test-api.ts";
import { runCommandLine } from "./command-line.ts";

let api: TestApi;
beforeEach(async () => {
  api = await new TestApi({ authenticator: openAuthenticator }).start();
});
afterEach(() => api.close());

async function run(...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const exitCode = await runCommandLine(["token", ...args, "--url", api.url], {
    print: (text) => void (out += text),
    printError: (text) => void (err += text),
  });
  return { exitCode, out, err };
}

test("makes, lists and revokes tokens through a server", async () => {
  const made = await run("create", "billing", "--scope", "read", "--entities", "users, orders_*", "--expires", "90d");
  expect(made).toMatchObject({ exitCode: 0, out: "emcache_billing\n", err: expect.stringContaining("users,orders_*") });
  const { out } = await run("list", "--json");
  expect(JSON.parse(out)).toMatchObject([{ name: "billing", scope: "read", entities: ["users", "orders_*"] }]);
  const days =
    (Date.parse((JSON.parse(out) as { expires_at: string }[])[0]?.expires_at ?? "") - Date.now()) / 86_400_000;
  expect(days).toBeGreaterThan(89);
  expect(days).toBeLessThan(91);
  expect(await run("revoke", "billing")).toMatchObject({ exitCode: 0, out: "revoked billing\n" });
  expect(await run("revoke", "billing")).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("token_not_found"),
  });
});

test.each([
  [["create", "a b", "--scope", "read"], "letters, digits"],
  [["create", "a", "--scope", "all"], "Allowed choices are read, write, admin"],
  [["create", "a"], "required option '--scope <scope>'"],
  [["create", "a", "--scope", "read", "--entities", "users;x"], "is no pattern"],
  [["create", "a", "--scope", "read", "--expires", "2001-01-01T00:00:00Z"], "a time to come"],
])("%j is a wrong call", async (args, words) => {
  expect(await run(...args)).toMatchObject({ exitCode: 2, err: expect.stringContaining(words) });
  expect(await api.request("/api/tokens").then((response) => response.json())).toEqual([]);
});
