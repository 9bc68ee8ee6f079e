import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Int32 } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EntityRequest } from "./support/emcache-api.ts";
import { eventually } from "./support/eventually.ts";
import { LogReplay } from "./support/log-replay.ts";
import { openCache, readMetadata } from "./support/oracle.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { TestSystem } from "./support/test-system.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

const folder = useTestFolder("end-to-end");
let system: TestSystem;

beforeAll(async () => {
  system = await TestSystem.start({
    folder,
    // Slow enough that a copy can be watched, and no snapshot but those asked for.
    settings: { "copy.rows_per_s_max": 4_000, "snapshot.min_lag": 1_000_000 },
  });
});

afterAll(async () => {
  await system.dispose();
});

/** The entity of the brief, letter by letter. */
const briefEntity = `{
  "name": "users",
  "client": "main",
  "source": "users",
  "shape": {
    "id_column": {
      "path": "$._id",
      "type": "string"
    },
    "columns": [
      {
        "name": "email",
        "type": "string",
        "path": "$.email"
      },
      {
        "name": "name",
        "type": "string",
        "path": "$.name"
      },
      {
        "name": "age",
        "type": "integer",
        "path": "$.age"
      }
    ],
    "indexes": [
      {
        "name": "email_idx",
        "columns": ["email"]
      }
    ]
  }
}`;

describe("the requests of the brief, verbatim", () => {
  const send = async (
    method: string,
    path: string,
    body?: string,
  ): Promise<{ status: number; body: unknown; type: string }> => {
    const response = await fetch(`${system.emcache.address}${path}`, {
      method,
      ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
    });
    const type = response.headers.get("content-type") ?? "";
    return {
      status: response.status,
      type,
      body: type.includes("json") ? await response.json() : await response.text(),
    };
  };

  test("GET /health", async () => {
    await eventually(
      async () => (await system.api.health()).status === "healthy",
      20_000,
      async () => `healthy; it says ${JSON.stringify(await system.api.health())}`,
    );
    for (const path of ["/health", "/api/health"]) {
      const answer = await send("GET", path);
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({ status: "healthy" });
    }
  });

  test("entities, oplogs and snapshots", async () => {
    await system.collection("users").insertMany([
      { _id: "u1" as never, email: "ann@example.com", name: "Ann", age: new Int32(41) },
      { _id: "u2" as never, email: "bob@example.com", name: "Bob", age: new Int32(42) },
    ]);
    const created = await send("POST", "/api/entities", briefEntity);
    expect([200, 201]).toContain(created.status);
    expect(created.body).toMatchObject(JSON.parse(briefEntity) as object);
    expect(await send("POST", "/api/entities", briefEntity.replaceAll(`"users"`, `"products"`))).toMatchObject({
      status: created.status,
    });
    await system.api.waitUntilLive("users", 20_000);
    // Whoever was told "live" and opens the file finds the whole of it.
    const opened = openCache(system.cacheFile("users"));
    expect(opened.prepare("SELECT count(*) FROM users").pluck().get()).toBe(2n);
    opened.close();
    await system.api.waitUntilLive("products", 20_000);

    const list = await send("GET", "/api/entities");
    expect(list.status).toBe(200);
    expect(JSON.stringify(list.body)).toContain(`"name":"users"`);
    const one = await send("GET", "/api/entities/users");
    expect(one.body).toMatchObject({ name: "users", state: "live", rows: 2, rejects: 0, last_error: null });

    const oplogs = await send("GET", "/api/oplogs/users?limit=100&offset=0");
    expect(oplogs.status).toBe(200);
    const entries = (oplogs.body as { entries: { operation: string; data: unknown }[] }).entries;
    expect(entries.map((entry) => entry.operation)).toEqual(["sync_start", "upsert", "upsert", "sync_end"]);
    expect(entries.map((entry) => entry.data)).toContainEqual(["ann@example.com", "Ann", 41]);
    const rest = await send("GET", "/api/oplogs/users?limit=100&offset=3");
    expect((rest.body as { entries: unknown[] }).entries).toEqual(entries.slice(3));

    const batch = await send(
      "POST",
      "/api/oplogs/batch",
      `{"entities": ["users", "products"], "limit": 100, "offset": 0}`,
    );
    expect(batch.status).toBe(200);
    expect((batch.body as { entries: unknown[] }).entries).toHaveLength(6);

    expect((await send("POST", "/api/snapshots/users")).status).toBeLessThan(300);
    const snapshot = await send("GET", "/api/snapshots/users");
    expect(snapshot.status).toBe(200);

    const database = openCache(system.cacheFile("users"));
    expect(database.prepare("SELECT id, name, age FROM users ORDER BY id").raw().all()).toEqual([
      ["u1", "Ann", 41n],
      ["u2", "Bob", 42n],
    ]);
    database.close();

    expect((await send("DELETE", "/api/entities/users")).status).toBeLessThan(300);
    expect((await send("DELETE", "/api/entities/products")).status).toBeLessThan(300);
    const gone = await send("GET", "/api/entities/users");
    expect(gone).toMatchObject({ status: 404, body: { code: "entity_not_found" } });
    expect(gone.type).toContain("application/problem+json");
    expect((gone.body as { error: string }).error).toBeTypeOf("string");
    expect(await send("GET", "/api/oplogs/users?limit=100&offset=0")).toMatchObject({ status: 404 });
    await eventually(() => !isThere(system.cacheFile("users")), 10_000, "the deleted entity's cache is gone");
  });

  test("every mistake of an entity at once, each with its place", async () => {
    const wrong = { ...(JSON.parse(briefEntity) as EntityRequest), client: "nowhere" };
    const answer = await system.api.request("POST", "/api/entities", {
      ...wrong,
      shape: {
        ...wrong.shape,
        columns: [
          { name: "a", type: "text", path: "$.a" },
          { name: "A", type: "string", path: "$.[" },
        ],
      },
    });
    expect(answer.status).toBe(400);
    const { errors } = answer.body as { errors: string[] };
    for (const place of ["client", "shape.columns[0].type", "shape.columns[1].path", "shape.indexes[0].columns[0]"]) {
      expect(errors.join("\n")).toContain(place);
    }
  });
});

test("a filled collection is copied and followed, and equals MongoDB", async () => {
  const entity = workloadEntity("followed", "followed");
  const workload = new Workload(system.collection("followed"), { seed: 11 });
  await workload.write("insert", 6_000);
  await system.api.createEntity(entity);
  const stop = new AbortController();
  const writing = workload.writeUntil(stop.signal);
  await system.api.waitUntilLive(entity.name, 60_000);
  stop.abort();
  await writing;
  await workload.write("mixed", 1_000);
  await system.expectEqual(entity);
  const history = await system.expectLinearHistory(entity.name);
  expect(history.copyRows).toBeGreaterThan(0);
  expect(history.streamRows).toBeGreaterThan(0);
});

test("invariant 5: position inside the cache", async () => {
  const entity = workloadEntity("positioned", "positioned");
  const workload = new Workload(system.collection("positioned"), { seed: 12, bulkSize: 50 });
  await workload.write("insert", 500);
  await system.create(entity);
  const samples: { position: number; table: Map<string, unknown> }[] = [];
  const stop = new AbortController();
  const writing = workload.writeUntil(stop.signal);
  await eventually(
    () => {
      const sample = sampleCache(system.cacheFile(entity.name));
      if (sample.position > (samples.at(-1)?.position ?? 0)) samples.push(sample);
      return samples.length >= 20;
    },
    30_000,
    () => `20 positions are seen; there were ${samples.length}`,
  );
  stop.abort();
  await writing;
  await system.fence(entity);
  const replay = await LogReplay.read(system.api, entity.name);
  for (const { position, table } of samples) {
    expect(differenceOf(table, replay.tableAt(position)), `at position ${position}`).toBeNull();
  }
});

test("invariant 6: old data until new data is whole, and fresh meanwhile", async () => {
  const before = workloadEntity("reshaped", "reshaped");
  const after: EntityRequest = {
    ...before,
    shape: {
      ...before.shape,
      columns: before.shape.columns.map((column) => (column.name === "age" ? { ...column, name: "years" } : column)),
      indexes: [{ name: "years_idx", columns: ["years"] }],
    },
  };
  const collection = system.collection("reshaped");
  const workload = new Workload(collection, { seed: 13 });
  await workload.write("insert", 8_000);
  await system.create(before);
  await system.fence(before);

  const seen: { shape: string; rows: number; hasFresh: boolean }[] = [];
  const look = (): void => {
    const database = openCache(system.cacheFile("reshaped"));
    const columns = database.prepare("SELECT name FROM pragma_table_info('data')").pluck().all() as string[];
    const rows = Number(database.prepare("SELECT count(*) FROM reshaped").pluck().get());
    const hasFresh = database.prepare("SELECT 1 FROM reshaped WHERE id = 'fresh'").get() !== undefined;
    const indexes = database.prepare("SELECT name FROM pragma_index_list('data') WHERE origin = 'c'").pluck().all();
    database.close();
    const isOld = columns.includes("age") && indexes.includes("email_idx");
    const isNew = columns.includes("years") && indexes.includes("years_idx");
    seen.push({ shape: isOld ? "old" : isNew ? "new" : `${columns.join(",")}; ${indexes.join(",")}`, rows, hasFresh });
  };
  await system.api.call("PUT", "/api/entities/reshaped", after);
  await eventually(
    async () => ((await system.api.entity("reshaped")).pending?.rows ?? 0) > 0,
    20_000,
    "the changed shape is being copied",
  );
  await collection.insertOne({ _id: "fresh" as never, seq: new Int32(1) });
  await eventually(
    () => {
      look();
      return seen.at(-1)?.shape === "new";
    },
    60_000,
    () => `readers see the new shape; the last saw ${JSON.stringify(seen.at(-1))}`,
  );
  look();
  expect(new Set(seen.map((one) => one.shape))).toEqual(new Set(["old", "new"]));
  // 8,000 documents and the fence; the fresh one joins the old table while the new one is not whole.
  expect(Math.min(...seen.map((one) => one.rows))).toBeGreaterThanOrEqual(8_001);
  expect(seen.some((one) => one.shape === "old" && one.hasFresh)).toBe(true);
  expect(seen.filter((one) => one.shape === "new").every((one) => one.hasFresh && one.rows === 8_002)).toBe(true);
  await system.api.waitUntilLive("reshaped", 20_000);
  await system.expectEqual(after);
});

test("invariant 7: no orphans", async () => {
  const collection = system.collection("shrunk");
  await collection.insertMany(
    Array.from({ length: 3_000 }, (_, index) => ({ _id: index as never, seq: new Int32(1) })),
  );
  const entity = workloadEntity("shrunk", "shrunk");
  await system.create(entity);
  // Deleted while nobody looks: the stream's events are there, but a copy must not need them, so both happen at once.
  await system.emcache.stop();
  await collection.deleteMany({ _id: { $gte: 1_000 } } as never);
  await system.emcache.restart();
  await system.api.call("PUT", "/api/entities/shrunk", { ...entity, shape: { ...entity.shape, indexes: [] } });
  await system.api.waitUntilLive("shrunk", 30_000);
  const comparison = await system.expectEqual({ ...entity, shape: { ...entity.shape, indexes: [] } });
  expect(comparison.rows).toBe(1_001);
});

test("a deleted and re-created entity is a new version with a copy of its own", async () => {
  const entity = workloadEntity("again", "again");
  await system.collection("again").insertMany([{ _id: "a" as never, seq: new Int32(1) }]);
  const first = await system.create(entity);
  await system.api.call("DELETE", "/api/entities/again");
  await system.collection("again").insertMany([{ _id: "b" as never, seq: new Int32(1) }]);
  const second = await system.create(entity);
  expect(second.id).toBeGreaterThan(first.id);
  await system.expectEqual(entity);
});

describe("what happens to a collection", () => {
  test("dropped: empty and live, and filled again when it is filled again", async () => {
    const entity = workloadEntity("dropped", "dropped");
    const collection = system.collection("dropped");
    await new Workload(collection, { seed: 14 }).write("insert", 500);
    await system.create(entity);
    await collection.drop();
    await waitForRowCount("dropped", 0);
    expect(await system.api.entity("dropped")).toMatchObject({ state: "live" });
    await new Workload(collection, { seed: 15, firstId: 10_000 }).write("insert", 300);
    await system.expectEqual(entity);
  });

  test("renamed away: empty; renamed onto: copied anew", async () => {
    const entity = workloadEntity("renamed", "renamed");
    const collection = system.collection("renamed");
    await new Workload(collection, { seed: 16 }).write("insert", 400);
    await system.create(entity);
    await collection.rename("renamed_away");
    await waitForRowCount("renamed", 0);
    await new Workload(system.collection("renamed_from"), { seed: 17, firstId: 50_000 }).write("insert", 250);
    await system.collection("renamed_from").rename("renamed");
    await waitForRowCount("renamed", 250);
    await system.expectEqual(entity);
    await new Workload(system.collection("renamed_over"), { seed: 18, firstId: 90_000 }).write("insert", 120);
    await system.collection("renamed_over").rename("renamed", { dropTarget: true });
    await waitForRowCount("renamed", 120);
    await system.expectEqual(entity);
  });
});

test("a snapshot made while writes go on equals the log at its position", async () => {
  const entity = workloadEntity("pictured", "pictured");
  const workload = new Workload(system.collection("pictured"), { seed: 19 });
  await workload.write("insert", 2_000);
  await system.create(entity);
  const stop = new AbortController();
  const writing = workload.writeUntil(stop.signal);
  const manifests: { position: number; rows: number; sha256: string; file: string }[] = [];
  for (let count = 0; count < 3; count += 1) {
    const manifest = await system.api.call<{ position: number; rows: number; sha256: string }>(
      "POST",
      "/api/snapshots/pictured",
    );
    const response = await fetch(`${system.emcache.address}/api/snapshots/pictured`);
    const bytes = Buffer.from(await response.arrayBuffer());
    const file = join(folder, `pictured-${count}.db`);
    writeFileSync(file, bytes);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(manifest.sha256);
    manifests.push({ ...manifest, file });
  }
  stop.abort();
  await writing;
  await system.fence(entity);
  const replay = await LogReplay.read(system.api, "pictured");
  for (const { file, position, rows } of manifests) {
    const database = new Database(file, { readonly: true });
    expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    database.close();
    const sample = sampleCache(file);
    expect(sample.position).toBe(position);
    expect(sample.table.size).toBe(rows);
    expect(differenceOf(sample.table, replay.tableAt(position)), `at position ${position}`).toBeNull();
  }
});

/** One consistent look into a file: its position, and the first column by primary key. */
function sampleCache(file: string): { position: number; table: Map<string, unknown> } {
  const database = openCache(file);
  try {
    return database.transaction(() => {
      const table = new Map<string, unknown>();
      for (const [id, seq] of database.prepare("SELECT id, seq FROM data").raw().iterate() as Iterable<
        [string, bigint | null]
      >) {
        table.set(id, seq === null ? null : Number(seq));
      }
      return { position: readMetadata(database).position, table };
    })();
  } finally {
    database.close();
  }
}

/** The first difference of two tables in words; null where they are equal. */
function differenceOf(actual: ReadonlyMap<string, unknown>, expected: ReadonlyMap<string, unknown>): string | null {
  for (const [id, seq] of expected) {
    if (!actual.has(id)) return `${id} is missing`;
    if (actual.get(id) !== seq) return `${id} is at ${String(actual.get(id))} instead of ${String(seq)}`;
  }
  for (const id of actual.keys()) if (!expected.has(id)) return `${id} is too much`;
  return null;
}

async function waitForRowCount(entity: string, rows: number): Promise<void> {
  let last = -1;
  await eventually(
    () => {
      const database = openCache(system.cacheFile(entity));
      last = Number(database.prepare("SELECT count(*) FROM data").pluck().get());
      database.close();
      return last === rows;
    },
    20_000,
    () => `the cache of ${entity} has ${rows} rows; it has ${last}`,
  );
}

function isThere(file: string): boolean {
  try {
    openCache(file).close();
    return true;
  } catch {
    return false;
  }
}
