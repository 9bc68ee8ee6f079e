import type { Collection } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EntityRequest } from "./support/emcache-api.ts";
import { eventually } from "./support/eventually.ts";
import { FAULT_SOURCES, startFaultSystem } from "./support/fault-system.ts";
import { openCache } from "./support/oracle.ts";
import type { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";

const DEADLINE_MS = 60_000;

/** An entity with what it may do without. */
interface PolicyEntity extends EntityRequest {
  readonly filter?: object;
  readonly on_reject?: string;
  readonly on_drop?: string;
}

interface Item {
  _id: string | { a: string; b: number };
  seq?: unknown;
  kind?: string;
}

const folder = useTestFolder("entity-policy");
let system: TestSystem;

function entityOf(name: string, more: Partial<PolicyEntity> = {}, idPath = "$._id"): PolicyEntity {
  return {
    name,
    client: "main",
    source: name,
    shape: {
      id_column: { path: idPath, type: "string" },
      columns: [{ name: "seq", type: "integer", path: "$.seq" }],
      indexes: [],
    },
    ...more,
  };
}

function items(name: string): Collection<Item> {
  return system.collection(name) as unknown as Collection<Item>;
}

function idsIn(name: string): unknown[] {
  const database = openCache(system.cacheFile(name));
  try {
    return database.prepare("SELECT id FROM data ORDER BY id").pluck().all();
  } finally {
    database.close();
  }
}

async function waitForIds(name: string, ids: readonly string[]): Promise<void> {
  await eventually(
    () => JSON.stringify(idsIn(name)) === JSON.stringify(ids),
    DEADLINE_MS,
    async () => `${ids.join()}; there are ${idsIn(name).join()}; ${JSON.stringify(await system.api.entity(name))}`,
  );
}

async function waitForState(name: string, state: string): Promise<void> {
  await eventually(
    async () => (await system.api.entity(name)).state === state,
    DEADLINE_MS,
    async () => `${name} is ${state}; it shows ${JSON.stringify(await system.api.entity(name))}`,
  );
}

describe.each(FAULT_SOURCES)("on %s", (source) => {
  beforeAll(async () => {
    system = await startFaultSystem(source, {
      folder,
      settings: { "copy.read_preference": "secondary", "copy.rows_per_s_max": 500 },
    });
  });

  afterAll(async () => {
    await system.dispose();
  });

  test("filter: a document that leaves it is deleted, one that comes is a row; another filter is a new copy", async () => {
    const entity = entityOf("filtered", { filter: { kind: { $in: ["red", "pink"] }, seq: { $lt: 10 } } });
    await items("filtered").insertMany([
      { _id: "a", seq: 1, kind: "red" },
      { _id: "b", seq: 1, kind: "blue" },
      { _id: "c", seq: 20, kind: "red" },
    ]);
    const created = await system.create(entity);
    expect(created).toMatchObject({ filter: entity.filter });
    await waitForIds("filtered", ["a"]);
    await items("filtered").updateOne({ _id: "a" }, { $set: { seq: 10 } });
    await items("filtered").updateOne({ _id: "b" }, { $set: { kind: "pink" } });
    await items("filtered").insertOne({ _id: "d", seq: 2, kind: "red" });
    await waitForIds("filtered", ["b", "d"]);
    const changed = await system.api.call<{ id: number; pending: { id: number } | null }>(
      "PUT",
      "/api/entities/filtered",
      { ...entity, filter: { kind: "blue" } },
    );
    expect(changed.pending?.id).toBeGreaterThan(created.id);
    await system.api.waitUntilLive("filtered", DEADLINE_MS);
    await waitForIds("filtered", []);
  });

  test("on_reject = skip_document: it is not cached, rejects tell it, are paged and forgotten", async () => {
    await items("skipping").insertMany([
      { _id: "a", seq: 1 },
      { _id: "b", seq: "text" },
    ]);
    await system.create(entityOf("skipping", { on_reject: "skip_document" }));
    await waitForIds("skipping", ["a"]);
    await items("skipping").updateOne({ _id: "a" }, { $set: { seq: "text" } });
    await items("skipping").insertOne({ _id: "c", seq: 1 });
    await waitForIds("skipping", ["c"]);
    const answer = await system.api.request("GET", "/api/entities/skipping/rejects?limit=1&offset=1");
    expect(answer.headers.get("emcache-total")).toBe("2");
    expect(answer.body).toMatchObject([{ doc_id: "b", column: "seq", sample: '"text"' }]);
    await system.api.call("DELETE", "/api/entities/skipping/rejects");
    expect(await system.api.entity("skipping")).toMatchObject({ rejects: 0 });
  });

  test("on_reject = stop: it says so, also after a restart; the others go on; it goes on with a new copy", async () => {
    await items("stopping").insertOne({ _id: "a", seq: 1 });
    await system.create(entityOf("stopping", { on_reject: "stop" }));
    await system.create(entityOf("beside", { source: "stopping" }));
    await items("stopping").insertOne({ _id: "b", seq: "text" });
    await waitForState("stopping", "stopped");
    await items("stopping").insertOne({ _id: "c", seq: 1 });
    await waitForIds("beside", ["a", "b", "c"]);
    expect(idsIn("stopping")).toEqual(["a"]);
    await system.emcache.stop();
    await system.emcache.restart();
    await waitForState("stopping", "stopped");
    expect(await system.api.entity("stopping")).toMatchObject({
      reason: expect.stringContaining("on_reject = stop") as string,
      last_error: { code: "entity_stopped" },
      rejects: 1,
    });
    await items("stopping").updateOne({ _id: "b" }, { $set: { seq: 2 } });
    await system.api.call("POST", "/api/entities/stopping/resume");
    await waitForState("stopping", "live");
    await waitForIds("stopping", ["a", "b", "c"]);
    await items("stopping").deleteOne({ _id: "a" });
    await waitForIds("stopping", ["b", "c"]);
  });

  test("on_drop = keep: the rows stay and the entity is stale until it is told to go on", async () => {
    await items("kept").insertOne({ _id: "a", seq: 1 });
    await system.create(entityOf("kept", { on_drop: "keep" }));
    await system.create(entityOf("emptied", { source: "kept" }));
    await items("kept").drop();
    await waitForState("kept", "stale");
    await waitForIds("emptied", []);
    await items("kept").insertOne({ _id: "b", seq: 1 });
    await waitForIds("emptied", ["b"]);
    expect(idsIn("kept")).toEqual(["a"]);
    await system.api.call("POST", "/api/entities/kept/resume");
    await waitForIds("kept", ["b"]);
    await waitForState("kept", "live");
  });

  test("a copy rests and goes on; a new one is made when it is asked for", async () => {
    const ids = Array.from({ length: 2_000 }, (_, index) => String(10_000 + index));
    await items("rested").insertMany(ids.map((_id) => ({ _id, seq: 1 })));
    await system.api.createEntity(entityOf("rested"));
    await system.api.call("POST", "/api/entities/rested/copy/pause");
    const seen: unknown[] = [];
    await eventually(
      async () => {
        seen.push(
          system.emcache.logLines().some(({ event, entity }) => event === "copy_paused" && entity === "rested"),
        );
        return seen.at(-1) === true || (await system.api.entity("rested")).rows === 0;
      },
      DEADLINE_MS,
      () => "the copy rests",
    );
    expect(await system.api.entity("rested")).toMatchObject({ state: "copying", copy_paused: true });
    await system.api.call("POST", "/api/entities/rested/copy/resume");
    await waitForIds("rested", ids);
    await waitForState("rested", "live");
    const copies = (): number =>
      system.emcache.logLines().filter(({ event, entity }) => event === "copy_started" && entity === "rested").length;
    const before = copies();
    await system.api.call("POST", "/api/entities/rested/copy");
    await eventually(
      () => copies() > before,
      DEADLINE_MS,
      () => "a new copy starts",
    );
    await waitForIds("rested", ids);
  });

  test("invariant 8: two documents whose _ids share the key are one row and one reject", async () => {
    await items("parts").insertMany([
      { _id: { a: "x", b: 1 }, seq: 1 },
      { _id: { a: "x", b: 2 }, seq: 2 },
      { _id: { a: "y", b: 1 }, seq: 3 },
    ]);
    await system.create(entityOf("parts", {}, "$._id.a"));
    await waitForIds("parts", ["x", "y"]);
    await eventually(
      async () => (await system.api.entity("parts")).rejects === 1,
      DEADLINE_MS,
      async () => `one reject; ${JSON.stringify(await system.api.entity("parts"))}`,
    );
    const { body } = await system.api.request("GET", "/api/entities/parts/rejects");
    expect(body).toMatchObject([{ doc_id: "x", reason: expect.stringContaining("is not unique") as string }]);
    await items("parts").deleteOne({ _id: { a: "x", b: 2 } });
    await items("parts").updateOne({ _id: { a: "y", b: 1 } }, { $set: { seq: 4 } });
    await items("parts").insertOne({ _id: { a: "z", b: 1 }, seq: 5 });
    await waitForIds("parts", ["x", "y", "z"]);
  });

  test("what a definition can't be is refused with its place", async () => {
    const answer = await system.api.request(
      "POST",
      "/api/entities",
      entityOf("wrong", { filter: { $where: "1" }, on_reject: "ignore", on_drop: "forget" }),
    );
    expect(answer).toMatchObject({ status: 400, body: { code: "entity_invalid" } });
    expect((answer.body as { errors: string[] }).errors.map((error) => error.split(":")[0])).toEqual([
      "filter",
      "on_reject",
      "on_drop",
    ]);
  });
});
