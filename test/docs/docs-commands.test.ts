import { mkdirSync, symlinkSync, writeFileSync, cpSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Int32 } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestMongo, startDevMongo } from "../support/test-mongo.ts";
import { EmcacheApi, type EntityRequest } from "../support/emcache-api.ts";
import { EmcacheProcess } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { type DocCommand, docCommands } from "./doc-commands.ts";
import { reasonNotToRun } from "./not-run.ts";

/** "Every command in it is run by a test": the shell commands of README.md and docs/, against one running server. */

const repository = fileURLToPath(new URL("../..", import.meta.url));
const COMMAND_DEADLINE_MS = 90_000;

/** What runs until it is stopped: it has to say something, and to end well when it is told to. */
const ENDLESS =
  /\bemcache (?:serve|demo|follow|tail|status)\b(?!.* --(?:once|json|limit)\b)|^npm run demo\b|[?&]stream\b/;

const root = useTestFolder("docs-commands");
const work = join(root, "work");
let mongo: TestMongo;
let emcache: EmcacheProcess;
let api: EmcacheApi;

beforeAll(async () => {
  mkdirSync(work, { mode: 0o755 });
  mongo = await startDevMongo({ folder: root });
  for (const name of ["users", "orders"]) {
    const documents = Array.from({ length: 20 }, (_, index) => ({
      _id: `${name}-${index}` as never,
      email: `user${index}@example.com`,
      name: `User ${index}`,
      age: new Int32(20 + index),
    }));
    await mongo.database.collection(name).insertMany(documents);
  }
  emcache = await EmcacheProcess.start({
    folder: work,
    sources: { main: { uri: mongo.uri, database: mongo.databaseName } },
  });
  api = new EmcacheApi(() => emcache.address);
  await api.createEntity(entityOf("users"));
  await api.createEntity(entityOf("orders"));
  await allLive();
  await api.request("POST", "/api/snapshots/users");
  // What a checkout has, and a reader's commands name.
  symlinkSync(join(repository, "node_modules"), join(work, "node_modules"));
  for (const name of ["config.toml.example", "deploy", "examples"]) {
    cpSync(join(repository, name), join(work, name), { recursive: true });
  }
  // An answer of an error is a failure of its command.
  writeFileSync(join(work, ".curlrc"), "fail-with-body\nsilent\nshow-error\n");
});

afterAll(async () => {
  await emcache.dispose();
  await mongo.stop();
});

function entityOf(name: string): EntityRequest {
  const columns = [
    { name: "email", type: "string", path: "$.email" },
    { name: "name", type: "string", path: "$.name" },
    { name: "age", type: "integer", path: "$.age" },
  ] as const;
  return {
    name,
    client: "main",
    source: name,
    shape: { id_column: { path: "$._id", type: "string" }, columns, indexes: [] },
  };
}

async function allLive(): Promise<void> {
  const names = (await api.call<{ readonly name: string }[]>("GET", "/api/entities")).map(({ name }) => name);
  for (const name of names) await api.waitUntilLive(name, COMMAND_DEADLINE_MS);
}

const commands = docCommands(repository);

test("the documents have commands, and each that is not run has a reason", () => {
  expect(commands.filter(isRun).length).toBeGreaterThan(10);
  for (const { place, reason } of commands) {
    if (reason !== null)
      expect(reason.split(" ").length, `${place}: "notest ${reason}" says too little`).toBeGreaterThan(2);
  }
});

test.each(commands.filter(isRun))(
  "$place: $text",
  async ({ text }) => {
    await prepareFor(text);
    const script = await adapted(text);
    if (ENDLESS.test(text)) return runEndless(script);
    const { code, output } = await run(script);
    expect(code, `${script}\n${output}`).toBe(0);
    await allLive();
  },
  COMMAND_DEADLINE_MS * 2,
);

function isRun({ text, reason }: DocCommand): boolean {
  return reason === null && reasonNotToRun(text) === null;
}

/** An entity that the command creates is not there yet, one that it names is. */
async function prepareFor(text: string): Promise<void> {
  const created = /POST .*\/api\/entities\b/.test(text)
    ? (/"name": *"(\w+)"/.exec(text) ?? /@(\w+)\.json/.exec(text))?.[1]
    : undefined;
  const made = created ?? /\bemcache entity create .*?(\w+)\.json/.exec(text)?.[1];
  if (made !== undefined) await api.request("DELETE", `/api/entities/${made}`);
  for (const name of ["users", "orders"]) {
    if (name === made || !text.includes(name)) continue;
    const { status } = await api.request("GET", `/api/entities/${name}`);
    if (status === 404) await api.createEntity(entityOf(name));
  }
  await allLive();
}

/** The command with what a reader has to put in: this server's address, an id, a moment. */
async function adapted(text: string): Promise<string> {
  const host = new URL(emcache.address).host;
  let script = text
    .replaceAll(/(?:localhost|127\.0\.0\.1):8080/g, host)
    // The server's own caches lie there.
    .replaceAll("--dir ./caches", "--dir ./followed");
  const moment = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g;
  if (moment.test(script)) script = script.replaceAll(moment, String(await restorableSecond()));
  if (/\/snapshots\/(\w+)\/ID\b/.test(script)) {
    const { body } = await api.request("POST", "/api/snapshots/users");
    script = script.replaceAll(/\bID\b/g, String((body as { id?: unknown }).id));
  }
  if (/[?&]versions=\d+/.test(script)) {
    const { id } = await api.entity("users");
    script = script
      .replaceAll(/&(?:versions|after|tag|log_id|wait_ms)=[^&'"\s]*/g, "")
      .replace(/versions=\d+/, `versions=${id}&after=0`);
  }
  return script;
}

/** The second that the newest snapshot of users is of, once the source is known to be captured beyond it. */
async function restorableSecond(): Promise<number> {
  const manifest = await api.call<{ readonly cluster_time_s: number }>("GET", "/api/snapshots/users?info");
  const second = manifest.cluster_time_s;
  await eventually(
    async () => (await api.request("GET", `/api/snapshots/users?time=${second}`)).status === 200,
    COMMAND_DEADLINE_MS,
    `second ${second} is captured`,
  );
  return second;
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

function start(script: string, environment: NodeJS.ProcessEnv = {}) {
  const port = new URL(emcache.address).port;
  return spawn("bash", ["-ec", script], {
    cwd: work,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      HOME: work,
      PATH: `${join(repository, "node_modules/.bin")}:${process.env["PATH"] ?? ""}`,
      // Whatever a command does to config.toml.
      EMCACHE_SERVER__PORT: port,
      EMCACHE_SOURCES__MAIN__URI: mongo.uri,
      EMCACHE_SOURCES__MAIN__DATABASE: mongo.databaseName,
      ...environment,
    },
  });
}

async function run(script: string): Promise<Ended> {
  const child = start(script);
  const output = collect(child);
  const timer = setTimeout(() => killGroup(child.pid, "SIGKILL"), COMMAND_DEADLINE_MS);
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(timer);
  return { code, output: output() };
}

async function runEndless(script: string): Promise<void> {
  const own = {
    EMCACHE_SERVER__PORT: "0",
    EMCACHE_DATA_DIR: join(root, "other-data"),
    EMCACHE_CACHE__BASE_DIR: join(root, "other-caches"),
  };
  // A second server; the others ask the one that runs.
  const child = start(script, /\bemcache (?:serve|demo)\b|npm run demo/.test(script) ? own : {});
  const output = collect(child);
  const ended = once(child, "close");
  try {
    await eventually(
      () => output().trim() !== "" || child.exitCode !== null,
      COMMAND_DEADLINE_MS,
      () => `${script} says something`,
    );
    expect(child.exitCode, `${script} ended: ${output()}`).toBeNull();
  } finally {
    killGroup(child.pid, "SIGTERM");
  }
  const timer = setTimeout(() => killGroup(child.pid, "SIGKILL"), 30_000);
  const [code, signal] = (await ended) as [number | null, string | null];
  clearTimeout(timer);
  expect([code === 0, signal === "SIGTERM"], `${script}: code ${code}, ${signal}; ${output()}`).toContain(true);
}

function collect(child: ReturnType<typeof start>): () => string {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return () => output.slice(-4_000);
}

/** With all that it started. */
function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}
