import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { Int32 } from "mongodb";
import { afterEach, describe, expect, test } from "vitest";
import { EmcacheApi } from "./support/emcache-api.ts";
import { EmcacheProcess, emcacheProgram } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { openCache } from "./support/oracle.ts";
import { SecantusServer } from "./support/secantus.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { startTestPostgres } from "./support/test-postgres.ts";
import { TestSystem } from "./support/test-system.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

const root = useTestFolder("lifecycle");

/** A PostgreSQL that is not ours can't be killed or frozen; these tests then have no object. */
const isPostgresExternal = (process.env["EMCACHE_TEST_POSTGRES_URI"] ?? "") !== "";

/** What each test started, ended after it whatever came of it. */
const started: { dispose: () => Promise<void> }[] = [];

afterEach(async () => {
  for (const one of started.splice(0).toReversed()) await one.dispose();
});

function folderOf(name: string): string {
  const folder = join(root, name);
  mkdirSync(folder, { mode: 0o755 });
  return folder;
}

interface Components {
  readonly [part: string]: {
    readonly status: string;
    readonly reason: string | null;
    readonly code: string | null;
    readonly hint: string | null;
  };
}

/** Waits until the whole is so, and if a part is named, because of it and with that code. */
async function waitForHealth(
  api: EmcacheApi,
  status: "healthy" | "degraded",
  part?: string,
  code?: string,
): Promise<Components> {
  return eventually(
    async () => {
      const health = await api.health();
      const components = health["components"] as Components;
      const named = part === undefined ? null : components[part];
      const isNamed = named === null || (named?.status === status && (code === undefined || named.code === code));
      return health.status === status && isNamed ? components : null;
    },
    30_000,
    async () => `${status} ${part ?? ""} ${code ?? ""}; it says ${JSON.stringify(await api.health())}`,
  );
}

describe("databases that are away", () => {
  test("a source that is absent at the start and vanishes later", async () => {
    const folder = folderOf("absent-source");
    const server = await SecantusServer.prepare({ folder });
    started.push({ dispose: () => server.stop() });
    const sources = { main: { uri: server.uri, database: "shop" } };
    const emcache = await EmcacheProcess.start({ folder, sources });
    started.push(emcache);
    const api = new EmcacheApi(() => emcache.address);
    await waitForHealth(api, "degraded", "source.main", "source_unavailable");
    const entity = workloadEntity("shop", "shop");
    await api.createEntity(entity);

    await server.restart();
    const { MongoClient } = await import("mongodb");
    const client = await new MongoClient(server.uri, { writeConcern: { w: "majority" } }).connect();
    started.push({ dispose: () => client.close() });
    const collection = client.db("shop").collection("shop");
    await new Workload(collection, { seed: 21 }).write("insert", 300);
    await api.waitUntilLive("shop", 60_000);
    await waitForHealth(api, "healthy");
    const cacheFile = join(emcache.cacheFolder, "shop.db");
    const rows = (): number => {
      const database = openCache(cacheFile);
      const count = Number(database.prepare("SELECT count(*) FROM shop").pluck().get());
      database.close();
      return count;
    };
    await eventually(
      () => rows() === 300,
      20_000,
      () => `300 rows; there are ${rows()}`,
    );

    await server.kill();
    await waitForHealth(api, "degraded", "source.main");
    expect(emcache.isRunning).toBe(true);
    expect(rows()).toBe(300);
    expect(await api.entity("shop")).toMatchObject({ state: "live" });

    await server.restart();
    await collection.insertOne({ _id: "after" as never, seq: new Int32(1) });
    await eventually(
      () => rows() === 301,
      30_000,
      () => `301 rows; there are ${rows()}`,
    );
    await waitForHealth(api, "healthy");
  });

  test("a PostgreSQL that is absent at the start and vanishes later", async () => {
    const folder = folderOf("absent-postgres");
    const postgres = await startTestPostgres();
    started.push({ dispose: () => postgres.stop() });
    const door = await Door.before(await postgres.newDatabase());
    started.push({ dispose: async () => door.close() });
    const server = await SecantusServer.start({ folder, syncOnCommit: false });
    started.push({ dispose: () => server.stop() });
    const sources = { main: { uri: server.uri, database: "shop" } };
    const settings = { "database.postgres.connection_timeout": 2, "cache.replication_interval": 1 };
    const emcache = await EmcacheProcess.start({ folder, sources, postgresUri: door.uri, settings });
    started.push(emcache);
    const api = new EmcacheApi(() => emcache.address);
    await waitForHealth(api, "degraded", "postgres", "postgres_unavailable");
    expect((await api.request("POST", "/api/entities", workloadEntity("shop", "shop"))).status).toBe(503);

    door.open();
    await waitForHealth(api, "healthy");
    const entity = workloadEntity("shop", "shop");
    await api.createEntity(entity);
    await api.waitUntilLive("shop", 30_000);

    door.shut();
    await waitForHealth(api, "degraded", "postgres");
    expect(emcache.isRunning).toBe(true);
    const { MongoClient } = await import("mongodb");
    const client = await new MongoClient(server.uri, { writeConcern: { w: "majority" } }).connect();
    started.push({ dispose: () => client.close() });
    await new Workload(client.db("shop").collection("shop"), { seed: 22 }).write("insert", 500);
    const cacheFile = join(emcache.cacheFolder, "shop.db");
    const count = (): number => {
      const database = openCache(cacheFile);
      const rows = Number(database.prepare("SELECT count(*) FROM data").pluck().get());
      database.close();
      return rows;
    };
    expect(count()).toBe(0);
    expect(await api.entity("shop")).toMatchObject({ state: "live" });

    door.open();
    await eventually(
      () => count() === 500,
      30_000,
      () => `500 rows; there are ${count()}`,
    );
    await waitForHealth(api, "healthy");
  });

  test.skipIf(isPostgresExternal)("the embedded PostgreSQL is started again when it dies", async () => {
    const system = await TestSystem.start({ folder: folderOf("embedded-dies") });
    started.push(system);
    const entity = workloadEntity("kept", "kept");
    await system.create(entity);
    system.emcache.killEmbeddedPostgres();
    await new Workload(system.collection("kept"), { seed: 23 }).write("insert", 200);
    await system.expectEqual(entity, 60_000);
    await waitForHealth(system.api, "healthy");
  });

  test("a standalone server is named in /health, with what to do", async () => {
    const folder = folderOf("standalone");
    const server = await SecantusServer.start({ folder, standalone: true, syncOnCommit: false });
    started.push({ dispose: () => server.stop() });
    const emcache = await EmcacheProcess.start({ folder, sources: { main: { uri: server.uri, database: "shop" } } });
    started.push(emcache);
    const api = new EmcacheApi(() => emcache.address);
    const components = await eventually(
      async () => {
        const shown = (await api.health())["components"] as Components;
        return Object.values(shown).some((one) => one.code === "source_unsuitable") ? shown : null;
      },
      20_000,
      async () => `source_unsuitable; it says ${JSON.stringify(await api.health())}`,
    );
    const part = Object.values(components).find((one) => one.code === "source_unsuitable");
    expect(part?.hint).toMatch(/replSet/);
    expect(emcache.isRunning).toBe(true);
  });
});

describe("start and stop", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal} ends it in order, within the shutdown time, with nothing left`, async () => {
      const system = await TestSystem.start({
        folder: folderOf(`stop-${signal}`),
        settings: { "server.shutdown_timeout": 8 },
      });
      started.push(system);
      const entity = workloadEntity("stopped", "stopped");
      await system.create(entity);
      const stop = new AbortController();
      const writing = new Workload(system.collection("stopped"), { seed: 24 }).writeUntil(stop.signal);
      await eventually(async () => ((await system.api.entity("stopped")).rows ?? 0) > 100, 20_000, "writes arrive");
      const begin = performance.now();
      system.emcache.process.signal(signal);
      expect(await system.emcache.process.waitForExit(12_000)).toEqual({ code: 0, signal: null });
      expect(performance.now() - begin).toBeLessThan(8_000);
      await eventually(
        () => system.emcache.processesLeft().length === 0,
        2_000,
        () => `nothing is left; there is ${system.emcache.processesLeft().join(", ")}`,
      );
      stop.abort();
      await writing;
      await system.emcache.restart();
      await system.expectEqual(entity);
    });
  }

  test.skipIf(isPostgresExternal)("a stop that hangs is ended at once by a second signal", async () => {
    const system = await TestSystem.start({ folder: folderOf("hang"), settings: { "server.shutdown_timeout": 30 } });
    started.push(system);
    await system.create(workloadEntity("hanging", "hanging"));
    const frozen = system.emcache.embeddedPostgresPids();
    signalEach(frozen, "SIGSTOP");
    started.push({ dispose: async () => signalEach(frozen, "SIGKILL") });
    system.emcache.process.signal("SIGTERM");
    await eventually(
      () => system.emcache.logLines().some((line) => line.event === "stopping"),
      5_000,
      "the first signal is heard",
    );
    expect(system.emcache.isRunning).toBe(true);
    const begin = performance.now();
    system.emcache.process.signal("SIGTERM");
    const exit = await system.emcache.process.waitForExit(10_000);
    expect(exit.code).not.toBe(0);
    expect(performance.now() - begin).toBeLessThan(5_000);
  });

  test("mistakes in the configuration are told all at once, and nothing starts", async () => {
    const folder = folderOf("bad-config");
    const file = join(folder, "config.toml");
    writeFileSync(
      file,
      `[server]\nprot = 8080\nport = "eighty"\n[sources.main]\nuri = "mongodb://ann:geheim@localhost/shop"\n[snapshots]\nmin_lag = 3\n`,
    );
    const outcome = await promisify(execFile)(emcacheProgram, ["serve", "--config", file], { cwd: folder }).then(
      () => ({ code: 0, text: "" }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        text: error.stdout + error.stderr,
      }),
    );
    expect(outcome.code).not.toBe(0);
    expect(outcome.text).toMatch(/server\.prot.*server\.port/);
    expect(outcome.text).toContain("server.port");
    expect(outcome.text).toMatch(/snapshots.*snapshot/);
    expect(outcome.text).not.toContain("geheim");
  });

  test("no password reaches the log", async () => {
    const folder = folderOf("password");
    const sources = {
      main: {
        uri: "mongodb://ann:geheimeswort@127.0.0.1:1/shop?replicaSet=none&serverSelectionTimeoutMS=300",
        database: "shop",
      },
    };
    const emcache = await EmcacheProcess.start({ folder, sources });
    started.push(emcache);
    const api = new EmcacheApi(() => emcache.address);
    await waitForHealth(api, "degraded", "source.main");
    await emcache.stop();
    expect(emcache.logs()).not.toContain("geheimeswort");
    expect(emcache.logs()).toContain(`"event":"stopped"`);
  });
});

/** A TCP door before a PostgreSQL: while it is shut nobody gets in, and whoever is inside is thrown out. */
class Door {
  readonly uri: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isOpen = false;

  private constructor(server: Server, uri: string) {
    this.#server = server;
    this.uri = uri;
  }

  /** It begins shut. */
  static async before(uri: string): Promise<Door> {
    const target = new URL(uri);
    const socketFolder = target.searchParams.get("host");
    const port = Number(target.port === "" ? 5432 : target.port);
    const server = createServer();
    const outside = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    target.searchParams.delete("host");
    target.hostname = "127.0.0.1";
    target.port = String(outside);
    const door = new Door(server, target.href);
    server.on("connection", (client) => {
      if (!door.#isOpen) {
        client.destroy();
        return;
      }
      const inside =
        socketFolder === null
          ? createConnection({ host: new URL(uri).hostname, port })
          : createConnection({ path: join(socketFolder, `.s.PGSQL.${port}`) });
      for (const socket of [client, inside]) {
        door.#sockets.add(socket);
        socket.on("error", () => socket.destroy());
        socket.on("close", () => {
          door.#sockets.delete(socket);
          client.destroy();
          inside.destroy();
        });
      }
      client.pipe(inside).pipe(client);
    });
    return door;
  }

  open(): void {
    this.#isOpen = true;
  }

  shut(): void {
    this.#isOpen = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.shut();
    this.#server.close();
  }
}

function signalEach(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It is gone already.
    }
  }
}

describe("SIGHUP", () => {
  test("takes over what a running process can, names what waits for a restart, and survives a mistake", async () => {
    const folder = folderOf("reload");
    const emcache = await EmcacheProcess.start({ folder, sources: {} });
    started.push(emcache);
    const reload = async (settings: Readonly<Record<string, string | number>>, event: string): Promise<unknown> => {
      const before = emcache.logLines().length;
      emcache.configure({ sources: {}, settings });
      process.kill(emcache.process.pid, "SIGHUP");
      return eventually(
        () =>
          emcache
            .logLines()
            .slice(before)
            .find((line) => line.event === event) ?? null,
        10_000,
        `the log says ${event}`,
      );
    };
    expect(
      await reload({ "logging.level": "trace", "copy.rows_per_s_max": 7, "server.waiting_max": 9 }, "config_reloaded"),
    ).toMatchObject({
      reloadable: expect.arrayContaining(["logging.level", "copy.rows_per_s_max"]) as unknown,
      waiting: ["server.waiting_max"],
    });
    expect(await reload({ "copy.rows_per_s_max": "seven" }, "config_reload_failed")).toMatchObject({ level: "error" });
    await waitForHealth(new EmcacheApi(() => emcache.address), "healthy");
  });
});

test("a process that only serves the API is healthy and ready", async () => {
  const emcache = await EmcacheProcess.start({
    folder: folderOf("api-only"),
    sources: {},
    settings: { roles: ["api"] },
  });
  started.push(emcache);
  const api = new EmcacheApi(() => emcache.address);
  await waitForHealth(api, "healthy");
  expect(await api.call("GET", "/health/ready")).toMatchObject({ status: "ready" });
});
