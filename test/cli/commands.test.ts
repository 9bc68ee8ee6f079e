import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Int32, Long, ObjectId } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emcacheProgram } from "../support/emcache-process.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { startDevMongo } from "../support/test-mongo.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { type RunResult, runEmcache } from "./run-emcache.ts";
import { shownOutputs } from "./shown-outputs.ts";

/** The commands that talk to a server, as a user types them beside one that runs. */
const folder = useTestFolder("commands");
const DEADLINE_MS = 60_000;
let system: TestSystem;

beforeAll(async () => {
  // The same after a restart, so that whoever follows it finds it again.
  const settings = { "server.port": await freePort() };
  system = await TestSystem.startOn({ folder, settings }, await startDevMongo({ folder }));
  await system.collection("people").createIndex({ email: 1 });
  await system.collection("people").insertMany([
    { _id: new ObjectId(), email: "ann@example.com", age: new Int32(31), address: { city: "Bern" } },
    { _id: new ObjectId(), email: "bob@example.com", address: { city: "Rome" }, tags: ["a"] },
  ]);
});
afterAll(() => system.dispose());

/** Beside the server's own configuration, whose port is any free one: so the address comes by the environment. */
function emcache(args: readonly string[], input?: string): Promise<RunResult> {
  const env = { EMCACHE_URL: system.emcache.address, EMCACHE_CONFIG: system.emcache.configFile };
  return runEmcache(args, { cwd: folder, env, ...(input === undefined ? {} : { input }) });
}

describe("entity", () => {
  test("infer proposes what create takes: every value fits, the collection's index comes along", async () => {
    const inferred = await emcache(["entity", "infer", "people"]);
    expect(inferred).toMatchObject({ exitCode: 0 });
    expect(inferred.err).toMatch(/^2 documents were looked at\.\nCOLUMN +TYPE +NULLABLE/);
    expect(inferred.err).toMatch(/\nage +integer +yes +50\.0 % +\$\.age +Int32\n/);
    expect(inferred.err).toMatch(/\naddress_city +string +no +100 % +\$\.address\.city +string\n/);
    expect(JSON.parse(inferred.out)).toMatchObject({
      name: "people",
      client: "main",
      source: "people",
      shape: { id_column: { path: "$._id", type: "string" }, indexes: [{ name: "by_email", columns: ["email"] }] },
    });
    const created = await emcache(["entity", "create", "-", "--wait", "60"], inferred.out);
    expect(created).toEqual({
      exitCode: 0,
      out: expect.stringMatching(/^created people \(version \d+\)\npeople is live: 2 rows\n$/),
      err: "",
    });
    expect(await system.api.entity("people")).toMatchObject({ state: "live", rows: 2, rejects: 0 });
    const again = await emcache(["entity", "create", "-"], inferred.out);
    expect(again).toMatchObject({ exitCode: 1, out: "", err: expect.stringMatching(/\(entity_exists\)\nHint: /) });
  });

  test("what can't be inferred or read says why", async () => {
    expect(await emcache(["entity", "infer", "nothing"])).toMatchObject({
      exitCode: 2,
      err: expect.stringMatching(/has no document.*\nHint: Names differ by case/),
    });
    expect(await emcache(["entity", "infer", "people", "--client", "other"])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("There is no source other: there are main"),
    });
    expect(await emcache(["entity", "create", "absent.json"])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("ENOENT"),
    });
    expect(await emcache(["entity", "create", "-"], "{")).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("is not JSON"),
    });
    expect(await emcache(["entity", "create"])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("name a FILE"),
    });
    const wrong = await emcache(["entity", "create", "-"], '{"name":"x y","client":"mian","shape":{}}');
    expect(wrong.exitCode).toBe(1);
    // Every mistake at once, as the server tells them.
    expect(wrong.err).toMatch(/entity_invalid\)\n {2}name: .*\n {2}client: .*did you mean "main"\?/);
    expect(wrong.err).not.toContain("    at ");
  });

  test("create by flags, show, list, update by flags, refresh, delete", async () => {
    const flags = ["--client", "main", "--source", "people", "--id", "string", "--column", "mail:string:$.email"];
    const created = await emcache(["entity", "create", "--name", "mails", ...flags, "--on-drop", "keep", "--wait"]);
    expect(created).toMatchObject({ exitCode: 0, err: "" });
    const shown = await emcache(["entity", "show", "mails"]);
    expect(shown.out).toMatch(/^entity +mails \(version \d+, of .*\)\nsource +main\.people\nstate +live\n/);
    expect(shown.out).toMatch(/\nCOLUMN {2}TYPE +PATH\nid +string +\$\._id\nmail +string +\$\.email\n/);
    expect((await emcache(["entity", "list"])).out).toMatch(
      /^ENTITY +SOURCE +STATE +ROWS.*\nmails +main\.people +live +2 +1 /,
    );

    const updated = await emcache(
      [
        ["entity", "update", "mails", "--column", "age:integer", "--column", "city:string:$.address.city"],
        ["--index", "by_city:city,mail", "--wait", "60", "--json"],
      ].flat(),
    );
    expect(updated.exitCode, updated.err).toBe(0);
    expect(JSON.parse(updated.out)).toMatchObject({ state: "live", pending: null, on_drop: "keep" });
    const definition = await emcache(["entity", "show", "mails", "--definition"]);
    expect(JSON.parse(definition.out)).toEqual({
      name: "mails",
      client: "main",
      source: "people",
      shape: {
        id_column: { path: "$._id", type: "string" },
        columns: [
          { name: "mail", type: "string", path: "$.email" },
          { name: "age", type: "integer", path: "$.age" },
          { name: "city", type: "string", path: "$.address.city" },
        ],
        indexes: [{ name: "by_city", columns: ["city", "mail"] }],
      },
      on_drop: "keep",
    });
    expect((await emcache(["entity", "update", "mails", "-"], definition.out)).out).toContain("left as it is: mails");
    expect((await emcache(["entity", "refresh", "mails"])).out).toBe("a new copy of mails begins\n");
    expect(await emcache(["entity", "delete", "mails"])).toEqual({ exitCode: 0, out: "deleted mails\n", err: "" });
    expect(await emcache(["entity", "show", "mails"])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("entity_not_found"),
    });
  });
});

test("status: a table, JSON, and exit codes as a check has them", async () => {
  await system.api.waitUntilLive("people", DEADLINE_MS);
  const healthy = await eventually(
    async () => {
      const run = await emcache(["status"]);
      return run.exitCode === 0 ? run : null;
    },
    DEADLINE_MS,
    "the server is healthy",
  );
  expect(healthy.out).toMatch(
    /^ENTITY +SOURCE +STATE +ROWS +LAG +BEHIND +EVENTS\/S +REJECTS +COPY\npeople +main\.people +live +2 +\d+ ms +0 +0\.0 +0\n$/,
  );
  const { entities, health } = JSON.parse((await emcache(["status", "--json"])).out) as Record<string, unknown>;
  expect(health).toMatchObject({ status: "healthy" });
  expect(entities).toEqual([expect.objectContaining({ name: "people", entries_per_s: 0, copy_eta_s: null })]);

  const unknown = { name: "gone", client: "main", source: "absent" };
  const shape = { id_column: { path: "$._id", type: "number" }, columns: [{ name: "a", type: "any", path: "$.a" }] };
  await system.api.call("POST", "/api/entities", { ...unknown, shape, on_reject: "stop" });
  await system.api.waitUntilLive("gone", DEADLINE_MS);
  await system.collection("absent").insertOne({ _id: "no number" as never });
  const stopped = await eventually(
    async () => {
      const run = await emcache(["status", "--once"]);
      return run.out.includes("stopped") ? run : null;
    },
    DEADLINE_MS,
    "the entity has stopped",
  );
  expect(stopped.exitCode).toBe(1);
  expect(stopped.out).toMatch(/\n! gone: .*\n {2}Hint: Look at its rejects/);
  await emcache(["entity", "delete", "gone"]);
});

test("what the quick start shows is what the commands say", async () => {
  const shown = shownOutputs("shown");
  const cities = ["Bern", "Rome", "Oslo"];
  await system.collection("users").insertMany(
    cities.map((city, index) => ({
      _id: new ObjectId(`6745f0a1c2d3e4f50617283${index}`),
      email: `${["ann", "bob", "cyd"][index]}@example.com`,
      ...(index === 1 ? {} : { age: new Int32(31) }),
      address: { city },
    })),
  );
  const plain = (lines: readonly string[]): string[] =>
    lines.map((line) =>
      line.replaceAll(/^[\dT:.-]+Z +\d+ /g, "TIME POSITION ").replace(/(version|3 +3 +) ?\d+/, "$1 #"),
    );
  const inferred = await emcache(["entity", "infer", "users"]);
  expect(inferred.err.trimEnd().split("\n")).toEqual(shown.get("infer"));
  const created = await emcache(["entity", "create", "-", "--wait"], inferred.out);
  const listed = (await emcache(["entity", "list"])).out.split("\n").filter((line) => /^(?:ENTITY|users) /.test(line));
  const said = [...created.out.trimEnd().split("\n"), ...listed];
  const squeezed = (lines: readonly string[]): string[] => plain(lines).map((line) => line.replaceAll(/ +/g, " "));
  expect(squeezed(said)).toEqual(squeezed(shown.get("create") ?? []));
  const tailed = await emcache(["tail", "users", "--from", "start", "--limit", "2"]);
  expect(plain(tailed.out.trimEnd().split("\n"))).toEqual(plain(shown.get("tail") ?? []));
  await emcache(["entity", "delete", "users"]);
});

test.skipIf(spawnSync("script", ["--version"]).status !== 0)(
  "status at a terminal is redrawn in place until Ctrl+C, and waits for a server that is away",
  async () => {
    const run = async (url: string, hasSaid: (out: string) => boolean): Promise<string> => {
      const child = spawn(
        "script",
        ["-qefc", `exec ${emcacheProgram} status --interval 0.1 --url ${url}`, "/dev/null"],
        {
          cwd: folder,
          env: { ...process.env, TERM: "xterm" },
          stdio: ["pipe", "pipe", "ignore"],
        },
      );
      let out = "";
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      await eventually(
        () => hasSaid(out),
        DEADLINE_MS,
        () => `it is drawn: ${out}`,
      );
      // As the terminal sends it.
      child.stdin.write("\u0003");
      const [code] = (await once(child, "close")) as [number | null];
      expect(code).toBe(0);
      return out;
    };
    const twice = (out: string): boolean => (out.match(/emcache status/g)?.length ?? 0) > 2;
    const table = await run(system.emcache.address, twice);
    // Over what it drew before: up by as many lines.
    expect(table).toContain("\u001b[4A");
    expect(table).toMatch(/people/);
    expect(await run("http://127.0.0.1:1", twice)).toContain("server_unreachable");
  },
);

describe("tail", () => {
  test("from the start: copies and changes with their columns; NDJSON keeps every digit", async () => {
    await system.collection("people").insertOne({ _id: "p1" as never, email: "zoe@example.com", age: Long.MAX_VALUE });
    await system.waitForRow("people", "p1", DEADLINE_MS);
    const text = await emcache(["tail", "people", "--from", "start", "--limit", "5"]);
    expect(text).toMatchObject({ exitCode: 0, err: "" });
    const lines = text.out.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\S+Z {2}\d+ {2}people {2}sync_start$/);
    expect(lines[1]).toMatch(
      / {2}people {2}copy {2}"[0-9a-f]{24}" {2}email="ann@example\.com" age=31 address_city="Bern"$/,
    );
    expect(lines[4]).toMatch(/ {2}people {2}upsert {2}"p1" {2}email="zoe@example\.com" age=9223372036854775807$/);
    const json = await emcache(["tail", "--from", "start", "--json", "--limit", "5"]);
    expect(json.out).toContain('"data":["zoe@example.com",9223372036854775807,');
    for (const line of json.out.trimEnd().split("\n")) expect(JSON.parse(line)).toHaveProperty("entity", "people");
  });

  test("from now on, over a restart of the server, until Ctrl+C; nothing twice, nothing missed", async () => {
    const child = spawn(emcacheProgram, ["tail", "--json", "people"], {
      cwd: folder,
      env: { ...process.env, EMCACHE_CONFIG: system.emcache.configFile, EMCACHE_URL: system.emcache.address },
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    let number = 0;
    const write = (): Promise<unknown> => system.collection("people").insertOne({ _id: `n${++number}` as never });
    const ids = (): string[] => [...out.matchAll(/"doc_id":"(n\d+)"/g)].map((match) => match[1] ?? "");
    await eventually(
      async () => {
        await write();
        return ids().length > 0;
      },
      DEADLINE_MS,
      "it has begun",
    );
    const seen = Number(ids()[0]?.slice(1));
    await write();
    await eventually(() => ids().at(-1) === `n${number}`, DEADLINE_MS, "what was written is there");
    await system.emcache.stop();
    await write();
    await system.emcache.restart();
    await write();
    await eventually(() => ids().at(-1) === `n${number}`, DEADLINE_MS, "what was written meanwhile and after it too");
    child.kill("SIGINT");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(ids()).toEqual(Array.from({ length: number - seen + 1 }, (_, index) => `n${seen + index}`));
  });

  test("an unknown entity, and a place that the log doesn't have", async () => {
    expect(await emcache(["tail", "nobody"])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("entity_not_found"),
    });
    expect(await emcache(["tail", "people", "--from", "99999999"])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("history_mismatch"),
    });
    expect(await emcache(["tail", "--from", "yesterday"])).toMatchObject({ exitCode: 2 });
  });
});

test("without a server, every command says so in words, with exit code 2", async () => {
  const commands = [
    ["status"],
    ["tail"],
    ["entity", "list"],
    ["snapshot", "list"],
    ["verify"],
    ["types"],
    ["sql", "a", "select 1"],
  ];
  const runs = commands.map(async (command) => {
    const run = await emcache([...command, "--url", "http://127.0.0.1:1"]);
    expect([command, run.exitCode, run.err]).toEqual([
      command,
      2,
      expect.stringMatching(/server_unreachable\)\nHint: Is `emcache serve` running/),
    ]);
    expect(run.err).not.toContain("    at ");
  });
  await Promise.all(runs);
  expect(await emcache(["status", "--url", "nonsense"])).toMatchObject({
    exitCode: 2,
    err: expect.stringContaining("no address"),
  });
});

describe("migrate", () => {
  test("an embedded PostgreSQL: pending, done, up to date", async () => {
    const cwd = join(folder, "migrate");
    mkdirSync(cwd);
    const migrate = (...args: string[]): Promise<RunResult> => runEmcache(["migrate", ...args], { cwd });
    const pending = await migrate("--check");
    expect(pending).toMatchObject({
      exitCode: 1,
      out: expect.stringMatching(/^The schema has version 0; pending:\n {2}1 {2}/),
    });
    expect(await migrate()).toMatchObject({
      exitCode: 0,
      out: expect.stringMatching(/^The schema had version 0; done:\n/),
    });
    const { version, pending: left } = JSON.parse((await migrate("--check", "--json")).out) as Record<string, unknown>;
    expect([version, left]).toEqual([expect.any(Number), []]);
    expect(await migrate()).toMatchObject({
      exitCode: 0,
      out: `The schema is up to date (version ${String(version)}).\n`,
    });
  });

  test("beside a server that uses the data directory it says who", async () => {
    const run = await emcache(["migrate", "--check"]);
    expect(run.exitCode).toBe(1);
    expect(run.err).toMatch(/another EMCache process uses the data directory.*\nHint: That process has brought/);
  });
});

describe("completion", () => {
  const complete = async (...words: readonly string[]): Promise<string[]> => {
    const script = `source <("$0" completion bash); COMP_WORDS=("\${@}"); COMP_CWORD=$(($# - 1)); _emcache; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await promisify(execFile)("bash", ["-c", script, emcacheProgram, ...words], { cwd: folder });
    return stdout.split("\n").filter((line) => line !== "");
  };

  test("bash completes commands, commands below them, flags and the values of flags", async () => {
    expect(await complete("emcache", "s")).toEqual(["serve", "status", "sql", "snapshot"]);
    expect(await complete("emcache", "entity", "")).toEqual([
      "create",
      "list",
      "show",
      "update",
      "delete",
      "refresh",
      "infer",
    ]);
    expect(await complete("emcache", "entity", "create", "--on-")).toEqual(["--on-reject", "--on-drop"]);
    expect(await complete("emcache", "entity", "create", "--on-drop", "")).toEqual(["empty", "keep"]);
    expect(await complete("emcache", "--url", "x", "entity", "li")).toEqual(["list"]);
    expect(await complete("emcache", "serve", "--server.po")).toEqual(["--server.port"]);
    expect(await complete("emcache", "completion", "")).toEqual(["bash", "zsh"]);
    // A file's name follows: nothing of ours.
    expect(await complete("emcache", "doctor", "--config", "")).toEqual([]);
  });

  test.skipIf(spawnSync("zsh", ["--version"]).status !== 0)("zsh completes the same", async () => {
    const { out } = await runEmcache(["completion", "zsh"], { cwd: folder });
    const file = join(folder, "_emcache");
    writeFileSync(file, out);
    // What the completion system offers is printed: a word, its description behind a colon.
    const system = `compdef() { }; _files() { print FILES; }
      _describe() { print -l -- "\${(@P)@[-1]}"; }
      compadd() { shift; print -l -- "$@"; }
      source $1; shift; words=("$@"); CURRENT=$#; _emcache`;
    const offered = async (...words: readonly string[]): Promise<string[]> => {
      const { stdout } = await promisify(execFile)("zsh", ["-fc", system, "zsh", file, ...words]);
      return stdout.trimEnd().split("\n");
    };
    expect(await offered("emcache", "entity", "")).toContain("create:Create an entity");
    expect(await offered("emcache", "entity", "create", "--on-drop", "")).toEqual(["empty", "keep"]);
    expect(await offered("emcache", "entity", "create", "--")).toContainEqual(expect.stringMatching(/^--on-reject:/));
    expect(await offered("emcache", "doctor", "--config", "")).toEqual(["FILES"]);
  });
});
