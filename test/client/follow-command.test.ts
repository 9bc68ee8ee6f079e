import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestServer } from "../../packages/client/src/testing/test-server.ts";
import { eventually } from "../support/eventually.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

/** `emcache follow` as a process, and the examples that read its file in other languages. */
const root = resolve(import.meta.dirname, "../..");
const main = join(root, "packages/server/src/cli/main.ts");
const folder = useTestFolder("follow-command");
const dir = join(folder, "caches");
const DEADLINE_MS = 60_000;
let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
  server.log.define("users", { u1: '["ann@example.com",31]', u2: '["bob@example.com",17]' });
});
afterAll(() => server.stop());

function has(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: "ignore" }).status === 0;
}

test("keeps the file until SIGTERM, tells states as JSON lines, and ends with 0", async () => {
  const args = ["follow", "--url", server.url, "--entity", "users", "--dir", dir, "--json", "--health-interval", "0.1"];
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: { event: string; entities: { name: string; state: string; position: number }[] }[] = [];
  createInterface(child.stdout).on("line", (line) => lines.push(JSON.parse(line)));
  const exited = once(child, "exit");
  const isLive = (event: string): boolean =>
    lines.some((line) => line.event === event && line.entities.every(({ state }) => state === "live"));
  await eventually(() => isLive("state") && isLive("health"), DEADLINE_MS, "it tells that it is live");
  const second = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  expect(second.status).toBe(1);
  expect(second.stderr).toContain("directory_locked");
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
  expect(lines.at(-1)).toMatchObject({ event: "state", entities: [{ name: "users", state: "stopped" }] });
  expect(readdirSync(dir)).toContain("users.db");
}, 120_000);

test("a wrong call ends with 2", () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [main, "follow", ...args], { encoding: "utf8" });
  expect(run("--entity", "users", "--dir", dir)).toMatchObject({ status: 2 });
  expect(run("--url", "nonsense", "--entity", "users", "--dir", dir)).toMatchObject({ status: 2 });
}, 60_000);

const FOUND = "u1 ann@example.com 31\n";

test("the Python example reads the file", () => {
  const out = execFileSync("python3", [join(root, "examples/python/read_users.py"), join(dir, "users.db"), "18"]);
  expect(out.toString()).toBe(FOUND);
});

test.skipIf(!has("sqlite3", "--version"))("the sqlite3 example reads the file", () => {
  const out = execFileSync("sh", [join(root, "examples/sqlite3/read-users.sh"), join(dir, "users.db"), "18"]);
  expect(out.toString()).toBe(FOUND);
});

// With modernc.org/sqlite from the module cache or proxy.
test.skipIf(!has("go", "version"))(
  "the Go example reads the file",
  () => {
    const out = execFileSync("go", ["run", ".", join(dir, "users.db"), "18"], {
      cwd: join(root, "examples/go"),
      env: { ...process.env, GOFLAGS: "-mod=mod" },
    });
    expect(out.toString()).toBe(FOUND);
  },
  600_000,
);

test("emcache types writes types of the rows", async () => {
  server.fault = (request, response, url) => {
    if (url.pathname !== "/api/entities") return false;
    response.end(JSON.stringify([...server.log.entities.values()]));
    return request.method === "GET";
  };
  const child = spawn(process.execPath, [main, "types", "--url", server.url], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  expect(await once(child, "close")).toEqual([0, null]);
  expect(out).toContain("export interface UsersRow {");
}, 60_000);
