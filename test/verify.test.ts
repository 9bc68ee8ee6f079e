import { execFile } from "node:child_process";
import { realpathSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import { Int32, ObjectId } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SUMS_SUFFIX } from "@emcache/cache-file";
import { BSON_ZOO, documentOf, zooValue } from "./support/bson-zoo.ts";
import type { EntityRequest } from "./support/emcache-api.ts";
import { emcacheProgram } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { FAULT_SOURCES, startFaultSystem } from "./support/fault-system.ts";
import { rawInsert } from "./support/raw-insert.ts";
import { scaled } from "./support/test-scale.ts";
import type { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

/** What tests read of the lines of an answer. */
interface Line {
  readonly event: "progress" | "difference" | "result" | "error";
  readonly [field: string]: unknown;
}

interface Run {
  /** The whole answer. */
  readonly text: string;
  readonly result: Line | undefined;
  readonly differences: readonly Line[];
}

const folder = useTestFolder("verify");
let system: TestSystem;

/** `POST /api/entities/{name}/verify`, read to its end; repeated while the cache is not there yet after a start. */
function verify(entity: string, query = ""): Promise<Run> {
  const url = `${system.emcache.address}/api/entities/${entity}/verify?${query}`;
  let text = "";
  return eventually(
    async () => {
      const answer = await fetch(url, { method: "POST", signal: AbortSignal.timeout(100_000) });
      text = await answer.text();
      const run = runOf(text);
      return answer.status === 503 || run.text.includes("verification_not_ready") ? null : run;
    },
    100_000,
    () => `${entity} is verified; the last answer: ${text}`,
  );
}

function runOf(text: string): Run {
  const lines = text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
  return {
    text,
    result: lines.find(({ event }) => event === "result"),
    differences: lines.filter(({ event }) => event === "difference"),
  };
}

/** Runs `emcache verify`. */
function command(...args: readonly string[]): Promise<Run & { readonly exitCode: number | null }> {
  return new Promise((resolve) => {
    const child = execFile(
      emcacheProgram,
      ["verify", "--url", system.emcache.address, ...args],
      { timeout: 100_000 },
      (_error, stdout, stderr) => resolve({ ...runOf(stdout), text: stdout + stderr, exitCode: child.exitCode }),
    );
  });
}

/** Changes a cache file while EMCache is not running, without its noticing: as a fault of its own would. */
async function damage(entity: string, change: (database: Database.Database) => void): Promise<void> {
  const path = realpathSync(system.cacheFile(entity));
  await system.emcache.stop();
  const database = new Database(path);
  change(database);
  database.close();
  rmSync(path + SUMS_SUFFIX);
  await system.emcache.restart();
  await system.api.waitUntilLive(entity, 60_000);
}

function simpleEntity(name: string, idType: "string" | "number" = "string"): EntityRequest {
  return {
    name,
    client: "main",
    source: name,
    shape: {
      id_column: { path: "$._id", type: idType },
      columns: [
        { name: "seq", type: "integer", path: "$.seq" },
        { name: "v", type: "any", path: "$.v" },
      ],
      indexes: [],
    },
  };
}

describe.each(FAULT_SOURCES)("emcache verify on %s", (source) => {
  beforeAll(async () => {
    system = await startFaultSystem(source, { folder });
  });

  afterAll(async () => {
    await system.dispose();
  });

  test("never cries wolf: no difference in any of many rounds under constant writes", async () => {
    const entity = workloadEntity("busy", "busy");
    const collection = system.collection("busy");
    await new Workload(collection, { seed: 1, firstId: 1_000_000 }).write("insert", scaled(30_000));
    await system.create(entity);
    const end = new AbortController();
    // The few that change, go and come back all the time, and those that rest.
    const writing = Promise.all([
      new Workload(collection, { seed: 2, idsMax: 300, bulkSize: 20 }).writeUntil(end.signal),
      new Workload(collection, { seed: 3, firstId: 500_000, bulkSize: 20 }).writeUntil(end.signal),
    ]);
    try {
      for (let round = 0; round < scaled(25); round++) {
        const run = await verify("busy");
        expect(run.differences, run.text).toEqual([]);
        expect(run.result, run.text).toMatchObject({ equal: true, differences: 0 });
        expect(run.result?.["compared"], "what rests was compared").toBeGreaterThan(scaled(29_000));
      }
    } finally {
      end.abort();
      await writing;
    }
    await system.expectEqual(entity);
  });

  test("names each damaged row and why, repairs it through the log, and finds nothing afterwards", async () => {
    const entity = simpleEntity("damaged");
    const collection = system.collection("damaged");
    await system.create(entity);
    const ids = Array.from({ length: 50 }, () => new ObjectId());
    await collection.insertMany(ids.map((_id, index) => ({ _id, seq: new Int32(index), v: "first" })));
    await collection.updateMany({}, { $set: { v: "second" } });
    await system.fence(entity);
    const before = await verify("damaged");
    expect(before.result, before.text).toMatchObject({ equal: true, documents: 51, compared: 51, rows: 51 });

    const [gone, old, other] = ids.map((id) => id.toHexString());
    const stranger = new ObjectId().toHexString();
    await damage("damaged", (database) => {
      database.prepare("DELETE FROM data WHERE id = ?").run(gone);
      database.prepare("UPDATE data SET v = 'first' WHERE id = ?").run(old);
      database.prepare("UPDATE data SET v = 'of nobody', seq = 77 WHERE id = ?").run(other);
      database.prepare("INSERT INTO data VALUES (?, 1, 'extra')").run(stranger);
    });
    // Looked at twice, they are found twice.
    for (let round = 0; round < 2; round++) {
      const found = await verify("damaged");
      expect(found.result, found.text).toMatchObject({
        equal: false,
        differences: 4,
        reasons: { missing: 1, extra: 1, older: expect.any(Number), differs: expect.any(Number) },
        repaired: 0,
      });
      const byId = new Map(found.differences.map((line) => [line["doc_id"], line]));
      expect(byId.get(gone)).toMatchObject({ reason: "missing", columns: [], repaired: null, id_type: "ObjectId" });
      expect(byId.get(stranger)).toMatchObject({ reason: "extra", columns: [], repaired: null });
      expect(byId.get(other)).toMatchObject({ reason: "differs", columns: ["seq", "v"], position: null });
      expect(byId.get(old)).toMatchObject({ columns: ["v"] });
    }
    const bounded = await verify("damaged", "limit=1");
    expect(bounded.differences.length).toBe(1);
    expect(bounded.result).toMatchObject({ differences: 4 });
    const text = await command("damaged");
    // As `diff`.
    expect(text.exitCode, text.text).toBe(1);
    expect(text.text).toContain(`missing "${gone}" (ObjectId)`);
    expect(text.text).toContain("4 differences");

    const repaired = await command("damaged", "--json", "--repair");
    expect(repaired.exitCode).toBe(1);
    expect(repaired.result, repaired.text).toMatchObject({ differences: 4, repaired: 4, copy_requested: false });
    const after = await verify("damaged");
    expect(after.result, after.text).toMatchObject({ equal: true, compared: 51, rows: 51 });
    await system.expectEqual(entity);
  });

  test("a row is older where the log had its state before", async () => {
    const entity = simpleEntity("aged");
    const collection = system.collection("aged");
    await system.create(entity);
    await collection.insertOne({ _id: "one" as never, seq: new Int32(1), v: "first" });
    await system.waitForRow("aged", "one", 30_000);
    await collection.updateOne({ _id: "one" as never }, { $set: { v: "second" } });
    await system.fence(entity);
    await damage("aged", (database) => database.prepare("UPDATE data SET v = 'first' WHERE id = 'one'").run());
    const found = await verify("aged", "repair=true");
    expect(found.result, found.text).toMatchObject({ differences: 1, reasons: { older: 1 }, repaired: 1 });
    expect(found.differences[0]).toMatchObject({ doc_id: "one", reason: "older", position: expect.any(Number) });
    await system.expectEqual(entity);
  });

  test.each(["string", "number"] as const)("ids of every BSON type, id column of type %s", async (idType) => {
    const name = `zoo_${idType}`;
    const entity = simpleEntity(name, idType);
    const documents = BSON_ZOO.filter((value) => value.name !== "double -2^63").map((value) =>
      documentOf([
        ["_id", value],
        ["v", zooValue(value.name)],
      ]),
    );
    await rawInsert(system.mongo.uri, system.mongo.databaseName, name, documents);
    await system.create(entity);
    // The stream brings the documents once more: what it brings after the damage would mend it.
    await system.collection(name).insertOne({ _id: 777_777 as never, v: "fence" });
    await system.waitForRow(name, "777777", 30_000);
    const clean = await verify(name);
    expect(clean.differences, clean.text).toEqual([]);
    expect(clean.result).toMatchObject({ equal: true });
    const rows = Number(clean.result?.["rows"]);
    expect(rows).toBeGreaterThan(5);

    // Each row wrong: each is named and repaired. None: each is missing.
    await damage(name, (database) => database.exec("UPDATE data SET v = 'wrong'"));
    const wrong = await verify(name, "limit=1000&repair=true");
    expect(wrong.result, wrong.text).toMatchObject({ differences: rows, reasons: { differs: rows } });
    // dev-mongo finds no document by an _id that is no JavaScript value: a new copy repairs those.
    const byCopy = rows - Number(wrong.result?.["repaired"]);
    expect(byCopy).toBeLessThan(source === "dev-mongo" ? 4 : 1);
    expect(wrong.result?.["copy_requested"]).toBe(byCopy > 0);
    const mended = await eventually(
      async () => {
        const run = await verify(name);
        return run.result?.["equal"] === true ? run : null;
      },
      60_000,
      () => "all rows are mended",
    );
    expect(mended.result).toMatchObject({ rows });
    await damage(name, (database) => database.exec("DELETE FROM data; DELETE FROM id_types"));
    const missing = await verify(name, "limit=1000&repair=true");
    expect(missing.result, missing.text).toMatchObject({ reasons: { missing: expect.any(Number) } });
    await eventually(
      async () => (await verify(name)).result?.["equal"] === true,
      60_000,
      () => "all rows are back",
    );
  });

  test("a rejected document is no difference", async () => {
    const entity = simpleEntity("refused", "number");
    const collection = system.collection("refused");
    await collection.insertMany([
      { _id: 1 as never, seq: "no number", v: 1 },
      { _id: "no key" as never, seq: 1 },
      { _id: 2 as never, seq: 2, v: { a: Number.NaN } },
    ]);
    await system.create(entity);
    const run = await verify("refused");
    expect(run.result, run.text).toMatchObject({ equal: true, documents: 3, rejected: 1, rows: 2 });
  });

  test("what can't be verified says why, with exit code 2; a verification ends with its client", async () => {
    const unknown = await command("nothing");
    expect(unknown.exitCode).toBe(2);
    expect(unknown.text).toContain("entity_not_found");
    await system.create(simpleEntity("left"));
    const end = new AbortController();
    const answer = await fetch(`${system.emcache.address}/api/entities/left/verify`, {
      method: "POST",
      signal: end.signal,
    });
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
    end.abort();
    await eventually(
      async () => (await verify("left")).result?.["equal"] === true,
      30_000,
      () => "another one runs after it",
    );
  });

  test("without a name, all entities", async () => {
    const all = await command("--json");
    expect(all.exitCode, all.text).toBe(0);
    expect(all.text.match(/"event":"result"/g)?.length).toBeGreaterThan(4);
  });
});
