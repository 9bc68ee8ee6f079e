import { createHash, randomBytes } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { S3ObjectStore, type S3ObjectStoreOptions } from "../packages/server/src/snapshot/s3-object-store.ts";
import { CountingProxy } from "./support/counting-proxy.ts";
import { EmcacheApi, type EntityRequest } from "./support/emcache-api.ts";
import { EmcacheProcess } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { hasGo } from "./support/go-tool.ts";
import { openCache } from "./support/oracle.ts";
import { type TestMongo, startTestMongo } from "./support/test-mongo.ts";
import { type TestPostgres, startTestPostgres } from "./support/test-postgres.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { Versitygw } from "./support/versitygw.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

const NEVER = new AbortController().signal;
const DEADLINE_MS = 60_000;
const MEBIBYTE = 1_048_576;
const FACTS = { contentType: "application/vnd.sqlite3", contentEncoding: null, fileName: "x.db", metadata: {} };

const folder = useTestFolder("object-storage");
const isThere = await hasGo();
const title = isThere
  ? "object storage"
  : "object storage: SKIPPED, because Go is not installed and versitygw can't be built";

let server: Versitygw;

beforeAll(async () => {
  if (isThere) server = await Versitygw.start(folder);
}, 900_000);

afterAll(async () => {
  if (isThere) await server.stop();
});

function optionsFor(endpoint: string, more: Partial<S3ObjectStoreOptions> = {}): S3ObjectStoreOptions {
  return {
    bucket: server.bucket,
    endpoint,
    prefix: "p/",
    region: "us-east-1",
    credentials: Versitygw.credentials,
    isPathStyle: true,
    presigns: true,
    presignExpiryS: 60,
    ...more,
  };
}

function fileOf(name: string, bytes: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe.skipIf(!isThere)(`${title}: the store`, () => {
  test("a small file, a large one in parts, a pre-signed URL, the list, removal", async () => {
    const store = new S3ObjectStore(optionsFor(server.endpoint, { partBytes: 5 * MEBIBYTE }));
    for (const [name, size] of [
      ["small.db", 1_000],
      ["large.db", 17 * MEBIBYTE + 3],
    ] as const) {
      const bytes = randomBytes(size);
      await store.putFile(`p/${name}`, fileOf(name, bytes), { ...FACTS, contentEncoding: "zstd" }, NEVER);
      await store.getFile(`p/${name}`, join(folder, `got-${name}`), NEVER);
      expect(readFileSync(join(folder, `got-${name}`)).equals(bytes)).toBe(true);
    }
    await store.putText("p/small.json", "{}", NEVER);
    const url = await store.presignedUrl("p/small.json", FACTS, NEVER);
    const response = await fetch(url);
    expect([response.status, await response.text()]).toEqual([200, "{}"]);
    expect((await fetch(url.replace(/X-Amz-Signature=..../, "X-Amz-Signature=0000"))).status).toBe(403);
    const listed = (await store.list("p/", NEVER)).map(({ key }) => key).sort();
    expect(listed).toEqual(["p/large.db", "p/small.db", "p/small.json"]);
    await store.remove(listed, NEVER);
    expect(await store.list("p/", NEVER)).toEqual([]);
  });

  test("an upload that was cut off goes on: parts that arrived are not sent again", async () => {
    const proxy = await CountingProxy.start(server.endpoint);
    const bytes = randomBytes(8 * 5 * MEBIBYTE);
    const path = fileOf("cut.db", bytes);
    const options = optionsFor(proxy.url, { partBytes: 5 * MEBIBYTE });
    const isPart = (line: string): boolean => line.startsWith("PUT") && line.includes("partNumber=");
    const crash = new AbortController();
    proxy.lets = (line) => {
      if (proxy.answered.filter(isPart).length >= 4) crash.abort();
      return !crash.signal.aborted || !isPart(line);
    };
    await expect(new S3ObjectStore(options).putFile("p/cut.db", path, FACTS, crash.signal)).rejects.toThrow("abort");
    const before = proxy.answered.filter(isPart).length;
    expect(before).toBeGreaterThanOrEqual(4);
    proxy.lets = () => true;
    // As after a restart: another store knows nothing of the first one.
    const store = new S3ObjectStore(options);
    expect(await store.pendingUploads("p/", NEVER)).toHaveLength(1);
    await store.putFile("p/cut.db", path, FACTS, NEVER);
    expect(proxy.answered.filter(isPart).length - before).toBeLessThanOrEqual(8 - before + 3);
    expect(proxy.answered.filter(isPart).length).toBeLessThan(8 + before);
    expect(await store.pendingUploads("p/", NEVER)).toEqual([]);
    await store.getFile("p/cut.db", join(folder, "got-cut.db"), NEVER);
    expect(readFileSync(join(folder, "got-cut.db")).equals(bytes)).toBe(true);
    await store.remove(["p/cut.db"], NEVER);
    await proxy.stop();
  });

  test("a server that is not there is told as such", async () => {
    const store = new S3ObjectStore(optionsFor("http://127.0.0.1:1"));
    await expect(store.list("p/", NEVER)).rejects.toMatchObject({ code: "object_store_unavailable" });
    const wrong = new S3ObjectStore(optionsFor(server.endpoint, { bucket: "nobodys" }));
    await expect(wrong.list("p/", NEVER)).rejects.toMatchObject({ code: "object_store_unavailable" });
  });
});

describe.skipIf(!isThere)(`${title}: two machines`, () => {
  let mongo: TestMongo;
  let postgres: TestPostgres;
  let postgresUri: string;
  let first: EmcacheProcess;
  let api: EmcacheApi;
  const entity: EntityRequest = workloadEntity("stored", "stored");

  function machine(
    name: string,
    settings: Readonly<Record<string, string | number | readonly string[]>> = {},
  ): Promise<EmcacheProcess> {
    const place = join(folder, name);
    mkdirSync(place, { recursive: true });
    return EmcacheProcess.start({
      folder: place,
      postgresUri,
      sources: { main: { uri: mongo.uri, database: mongo.databaseName } },
      settings: {
        "snapshot.check_interval": 0.2,
        "snapshot.min_lag": 1_000_000,
        "snapshot.store.bucket": server.bucket,
        "snapshot.store.endpoint": server.endpoint,
        ...settings,
      },
      environment: {
        AWS_ACCESS_KEY_ID: Versitygw.credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: Versitygw.credentials.secretAccessKey,
      },
    });
  }

  const objects = (): string[] => globSync("emcache/snapshots/**/stored/*", { cwd: server.folder }).sort();

  beforeAll(async () => {
    [mongo, postgres] = await Promise.all([startTestMongo({ folder, syncOnCommit: false }), startTestPostgres()]);
    postgresUri = await postgres.newDatabase();
    await new Workload(mongo.database.collection("stored"), { seed: 1, clients: 1, bulkSize: 500 }).write(
      "insert",
      2_000,
    );
    first = await machine("first");
    api = new EmcacheApi(() => first.address);
    await api.createEntity(entity);
    await api.waitUntilLive(entity.name, DEADLINE_MS);
  });

  afterAll(async () => {
    await first.dispose();
    await mongo.stop();
    await postgres.stop();
  });

  test("each snapshot is stored with its forms and its manifest, and goes when it is deleted", async () => {
    const { id } = await api.call<{ id: string }>("POST", "/api/snapshots/stored");
    await eventually(
      () => objects().some((name) => name.endsWith(`${id}.json`)),
      DEADLINE_MS,
      () => `${id} is stored; there are ${objects().join(", ")}`,
    );
    const names = objects().filter((name) => name.includes(id));
    expect(names.map((name) => name.slice(name.lastIndexOf(id) + id.length))).toEqual([
      ".db",
      ".db.gz",
      ".db.zst",
      ".json",
    ]);
    await eventually(
      async () => {
        await api.request("DELETE", `/api/snapshots/stored/${id}`);
        return objects().every((name) => !name.includes(id));
      },
      DEADLINE_MS,
      () => `the objects of ${id} are gone; there are ${objects().join(", ")}`,
    );
    expect((await api.request("DELETE", `/api/snapshots/stored/${id}`)).status).toBe(404);
  });

  test("a machine with an empty disk begins with what is stored, and goes on from there", async () => {
    const { id, rows } = await api.call<{ id: string; rows: number }>("POST", "/api/snapshots/stored");
    await eventually(() => objects().some((name) => name.endsWith(`${id}.json`)), DEADLINE_MS, "it is stored");
    await mongo.database.collection("stored").insertOne({ _id: "after the snapshot" as never, seq: 1 });
    const second = await machine("second", { "snapshot.store.presign": "true" });
    try {
      const line = await eventually(
        () => second.logLines().find(({ event }) => event === "cache_fetched"),
        DEADLINE_MS,
        "the second machine fetches its cache",
      );
      expect(line).toMatchObject({ entity: "stored", rows });
      const file = join(second.cacheFolder, "stored.db");
      await eventually(
        () => {
          if (!existsSync(file)) return false;
          const database = openCache(file);
          try {
            return database.prepare("SELECT 1 FROM data WHERE id = 'after the snapshot'").get() !== undefined;
          } finally {
            database.close();
          }
        },
        DEADLINE_MS,
        "what came after the snapshot is in the second machine's cache",
      );
    } finally {
      await second.dispose();
    }
  });

  test("a machine that keeps no caches sends clients to the storage, or fetches for them", async () => {
    const info = await api.call<{ sha256: string; position: number }>("GET", "/api/snapshots/stored?info");
    const roles = { roles: ["api"] };
    for (const presign of [true, false]) {
      const third = await machine(`third-${presign}`, { ...roles, "snapshot.store.presign": String(presign) });
      try {
        const path = `${third.address}/api/snapshots/stored`;
        await eventually(async () => (await fetch(`${path}?info`)).ok, DEADLINE_MS, "it knows the entity");
        const plain = { headers: { "accept-encoding": "identity" } };
        const response = await fetch(path, { ...plain, redirect: "manual" });
        expect(response.status).toBe(presign ? 302 : 200);
        expect(response.headers.get("emcache-position")).toBe(String(info.position));
        const bytes = Buffer.from(await (await fetch(path, plain)).arrayBuffer());
        expect(sha256Of(bytes)).toBe(info.sha256);
      } finally {
        await third.dispose();
      }
    }
  });

  test("a bit flipped in object storage is refused", async () => {
    const { id } = await api.call<{ id: string }>("POST", "/api/snapshots/stored");
    await eventually(() => objects().some((name) => name.endsWith(`${id}.json`)), DEADLINE_MS, "it is stored");
    const path = join(server.folder, objects().find((name) => name.endsWith(`${id}.db`)) ?? "");
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4;
    writeFileSync(path, bytes);
    const fourth = await machine("fourth", { roles: ["api"] });
    try {
      const target = `${fourth.address}/api/snapshots/stored?id=${id}`;
      await eventually(async () => (await fetch(`${target}&info`)).ok, DEADLINE_MS, "it knows the snapshot");
      const response = await fetch(target);
      expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([500, "snapshot_damaged"]);
    } finally {
      await fourth.dispose();
    }
  });
});

function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
