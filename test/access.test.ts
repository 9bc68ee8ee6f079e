import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { makeCertificate } from "../packages/server/src/api/testing/test-certificate.ts";
import { EmcacheProcess, emcacheProgram } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { useTestFolder } from "./support/use-test-folder.ts";

const folder = useTestFolder("access");
const sources = { main: { uri: "embedded", database: "main" } };
let emcache: EmcacheProcess | null = null;
afterAll(async () => {
  await emcache?.dispose();
});

async function command(...args: string[]): Promise<string> {
  const config = ["--config", emcache?.configFile ?? ""];
  const { stdout } = await promisify(execFile)(emcacheProgram, [...args, ...config], { cwd: folder });
  return stdout.trim();
}

async function statusWith(token: string | null, path = "/api/entities"): Promise<number> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return (await fetch((emcache?.address ?? "") + path, { headers })).status;
}

test("a server that is open to others warns; with tokens it takes those that the command made, before its start and beside it", async () => {
  const open = { "server.host": "0.0.0.0" };
  emcache = await EmcacheProcess.prepare({ folder, sources, settings: { ...open, "server.auth": "token" } });
  // Before the first start: the command makes what it needs.
  const first = await command("token", "create", "operator", "--scope", "admin");
  await emcache.restart();
  const address = emcache.address.replace("0.0.0.0", "127.0.0.1");
  expect(emcache.logLines().filter(({ event }) => event === "api_open")).toEqual([]);
  expect(await statusWith(null)).toBe(401);
  await eventually(async () => (await statusWith(first)) === 200, 20_000, "the first token counts");
  const second = await command("token", "create", "reader", "--scope", "read", "--entities", "users");
  await eventually(async () => (await statusWith(second)) === 200, 20_000, "the token that was made beside it counts");
  expect(await statusWith(second, "/api/entities/orders")).toBe(403);
  expect(await command("token", "list")).toMatch(/operator {2}admin {2}\*.*\nreader {2}read {2}users/);
  const listed = await command("token", "list", "--json", "--url", address, "--token", first);
  expect(JSON.parse(listed)).toHaveLength(2);
  expect(await command("token", "revoke", "reader")).toBe("revoked reader");
  await eventually(async () => (await statusWith(second)) === 401, 20_000, "a revoked token counts no more");
  expect(emcache.logs()).not.toContain(first);
  await emcache.stop();

  emcache.configure({ sources, settings: open });
  await emcache.restart();
  const [warning] = emcache.logLines().filter(({ event }) => event === "api_open");
  expect(warning).toMatchObject({ level: "warn", msg: expect.stringContaining("ASKS FOR NO TOKEN".toLowerCase()) });
  expect(await statusWith(null)).toBe(200);
  await emcache.stop();

  const { cert, key } = makeCertificate(folder, "served");
  emcache.configure({ sources, settings: { "server.tls.cert": cert, "server.tls.key": key } });
  emcache.launch();
  const line = await eventually(
    () => emcache?.logLines().find(({ event }) => event === "started") ?? null,
    60_000,
    "it starts with HTTPS",
  );
  expect(line["address"]).toMatch(/^https:/);
  makeCertificate(folder, "served");
  emcache.process.signal("SIGHUP");
  await eventually(
    () => emcache?.logLines().some(({ event }) => event === "certificate_reloaded") ?? false,
    20_000,
    "SIGHUP reads the certificate again",
  );
});
