import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openReader } from "@emcache/cache-file";
import { TestApi, USERS } from "../api/testing/test-api.ts";
import { SnapshotFixture, upserts } from "../snapshot/testing/snapshot-fixture.ts";
import { runCommandLine } from "./command-line.ts";

let folder: string;
let fixture: SnapshotFixture;
let api: TestApi;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "emcache-cli-snapshot-"));
  fixture = new SnapshotFixture();
  fixture.add(1, "users", "live");
  fixture.copy(1, 10);
  const manager = fixture.manager();
  await manager.start();
  api = await new TestApi({ snapshots: manager }).start();
  await api.add(USERS, "live");
});

afterEach(async () => {
  await api.close();
  await fixture.close();
  rmSync(folder, { recursive: true });
});

async function run(...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const exitCode = await runCommandLine(["snapshot", ...args, "--url", api.url], {
    print: (text) => void (out += text),
    printError: (text) => void (err += text),
  });
  return { exitCode, out, err };
}

function rowsOf(path: string): unknown {
  const reader = openReader(path);
  try {
    return reader.prepare("SELECT count(*) FROM users").pluck().get();
  } finally {
    reader.close();
  }
}

test("create, list, get, restore, delete", async () => {
  const created = await run("create", "users");
  expect(created).toMatchObject({
    exitCode: 0,
    out: expect.stringMatching(/^\S+ {2}users v1 {2}position 12, .* 10 rows /),
  });
  const id = created.out.split(" ")[0] ?? "";
  expect((await run("list")).out).toContain(id);
  expect(JSON.parse((await run("list", "users", "--json")).out)).toEqual(
    expect.arrayContaining([expect.objectContaining({ id, position: 12 })]),
  );

  const out = join(folder, "users.db");
  expect((await run("get", "users", "--out", out)).out).toBe(
    `${out}: 10 rows of users (version 1) at position 12, ${readFileSync(out).length} bytes\n`,
  );
  expect(rowsOf(out)).toBe(10);
  expect(await run("get", "users", "--out", out)).toMatchObject({
    exitCode: 2,
    err: expect.stringContaining("exists already"),
  });

  fixture.apply(1, upserts(5, "stream", 100));
  for (const point of [
    ["--position", "14"],
    ["--time", "14"],
    ["--time", "1970-01-01T00:00:14Z"],
  ]) {
    expect((await run("restore", "users", ...point, "--out", out, "--force")).out).toContain("at position 14");
    expect(rowsOf(out)).toBe(12);
  }
  expect(await run("restore", "users", "--out", out)).toMatchObject({ exitCode: 2 });
  expect(await run("restore", "users", "--position", "9000", "--out", out, "--force")).toMatchObject({
    exitCode: 1,
    err: expect.stringMatching(/point_unreachable.*\nHint: /),
  });

  expect((await run("delete", "users", id)).out).toBe(`deleted ${id}\n`);
  expect(await run("get", "users", "--id", id, "--out", join(folder, "gone.db"))).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("snapshot_not_found"),
  });
});

test("a download that is not what was announced leaves nothing; a redirect is followed", async () => {
  const bytes = Buffer.from("a file");
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const server = createServer((request, response) => {
    if (request.url === "/object") response.end(bytes);
    else if (request.url?.startsWith("/api/snapshots/moved") === true)
      response.writeHead(302, { location: `${urlOf()}/object`, "emcache-sha256": sha256 }).end();
    else response.writeHead(200, { "emcache-sha256": sha256 }).end("another file");
  });
  const urlOf = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const out = join(folder, "file.db");
  const silent = { print: () => undefined, printError: () => undefined };
  const get = (entity: string): Promise<number> =>
    runCommandLine(["snapshot", "get", entity, "--out", out, "--url", urlOf()], silent);
  writeFileSync(`${out}.partial`, "of an earlier attempt");
  expect(await get("damaged")).toBe(1);
  expect([existsSync(out), existsSync(`${out}.partial`)]).toEqual([false, false]);
  expect(await get("moved")).toBe(0);
  expect(readFileSync(out, "utf8")).toBe("a file");
  server.closeAllConnections();
  server.close();
});
