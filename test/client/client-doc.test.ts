import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../packages/client/src/testing/test-server.ts";
import { startChild } from "./start-child.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

/*
 * docs/04-client.md: its TypeScript, all blocks in their order as one program, is type-checked and run; and each public
 * method of the client has an example in it.
 */
const root = resolve(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/04-client.md"), "utf8");
const folder = useTestFolder("client-doc");
const blocks = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
  server.log.define("users", { u1: '["ann@example.com",31]', u2: '["bob@example.com",17]' });
  mkdirSync(join(folder, "node_modules"), { recursive: true });
  for (const name of ["@emcache", "better-sqlite3", "@types"]) {
    symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
  }
  const source = blocks.join("\n").replaceAll("http://localhost:8080", server.url);
  writeFileSync(join(folder, "program.ts"), source);
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
});
afterAll(() => server.stop());

test("the examples have right types", () => {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", "--types", "node"];
  const more = [
    "--lib",
    "es2024,esnext",
    "--skipLibCheck",
    "--allowImportingTsExtensions",
    "--noUncheckedIndexedAccess",
    "--exactOptionalPropertyTypes",
  ];
  execFileSync(process.execPath, [tsc, ...options, ...more, "program.ts"], { cwd: folder, stdio: "inherit" });
});

test("the examples run, one after the other, and print what the page says", async () => {
  const { out, code } = await startChild(process.execPath, ["program.ts"], folder);
  expect(code).toBe(0);
  expect(out).toContain("[ { n: 2 } ]");
  expect(out).toContain("adults: [ { id: 'u1', age: 31 } ]");
  expect(out).toContain("1 ann@example.com");
  expect(out).toContain("{ n: 2 }\n");
  expect(out).toMatch(/^31$/m);
}, 120_000);

test("each public method has an example", () => {
  const source = readFileSync(join(root, "packages/client/src/local-cache.ts"), "utf8");
  const methods = [...source.matchAll(/^ {2}(?:async )?([a-z]\w*)[(<]/gm)].map((match) => match[1]);
  // `opened` is what `openCache` waits for; `constructor` is its own.
  const shown = methods.filter((name) => name !== "constructor" && name !== "opened");
  expect(shown).toEqual(
    expect.arrayContaining(["get", "query", "db", "path", "waitFor", "subscribe", "watch", "status", "close"]),
  );
  for (const name of shown) expect(blocks.join("\n")).toMatch(new RegExp(`cache\\.${name}\\(`));
});
