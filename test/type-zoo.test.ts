import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BSON_ZOO, documentOf, zooValue } from "./support/bson-zoo.ts";
import type { ColumnTypeName, EntityRequest } from "./support/emcache-api.ts";
import { eventually } from "./support/eventually.ts";
import { expectedTable } from "./support/oracle.ts";
import { rawInsert } from "./support/raw-insert.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { TestSystem } from "./support/test-system.ts";

const COLUMN_TYPES: readonly ColumnTypeName[] = ["string", "integer", "number", "bool", "jsonb", "any"];

const folder = useTestFolder("type-zoo");
let system: TestSystem;

beforeAll(async () => {
  system = await TestSystem.start({ folder });
});

afterAll(async () => {
  await system.dispose();
});

/** Each document carries one value under `v`, which every column type reads. */
function zooEntity(name: string, collection: string, idType: "string" | "number"): EntityRequest {
  return {
    name,
    client: "main",
    source: collection,
    shape: {
      id_column: { path: "$._id", type: idType },
      columns: [
        ...COLUMN_TYPES.map((type) => ({ name: `as_${type}`, type, path: "$.v" })),
        ...COLUMN_TYPES.map((type) => ({ name: `inside_${type}`, type, path: "$.in[1].v" })),
        { name: "searched", type: "any", path: "$..v" },
      ],
      indexes: [],
    },
  };
}

/** Documents with each value of the zoo in every place that the entity reads. */
const asValues = BSON_ZOO.map((value, index) =>
  documentOf([
    ["_id", zooValue(`value-${index} ${value.name}`)],
    ["v", value],
    ["in", zooArray([zooValue(0), { type: 0x03, bytes: documentOf([["v", value]]) }])],
  ]),
);

/**
 * Documents with each value as their `_id`. Without -2^63 as a double: SecantusDB, unlike MongoDB, takes it beside the
 * integer that equals it.
 */
const asIds = BSON_ZOO.filter(({ name }) => name !== "double -2^63").map((value) =>
  documentOf([
    ["_id", value],
    ["v", zooValue(value.name)],
  ]),
);

describe("each BSON type as a value, through every column type", () => {
  for (const way of ["copied", "streamed"]) {
    test(`invariant 8: nothing dropped in silence: values ${way}`, async () => {
      const collection = `values_${way}`;
      const entity = zooEntity(collection, collection, "string");
      if (way === "streamed") await system.create(entity);
      const refused = await insert(collection, asValues);
      if (way === "copied") await system.create(entity);
      // What a server refuses is not there to be mapped; the zoo is still nearly whole.
      expect(refused.length, refused.join("; ")).toBeLessThan(5);
      const comparison = await system.expectEqual(entity);
      expect(comparison.rows).toBe(BSON_ZOO.length - refused.length + 1);
      await expectRejects(entity);
    });
  }

  test("a value that becomes another type is followed", async () => {
    const entity = zooEntity("changing", "changing", "string");
    await system.create(entity);
    const collection = system.collection("changing");
    await collection.insertOne({ _id: "one" as never });
    for (const value of [1, "text", null, { a: 1 }, [1], true, new Date(0), 1.5]) {
      await collection.updateOne({ _id: "one" as never }, { $set: { v: value } });
      await system.expectEqual(entity);
    }
  });
});

describe("each BSON type as an _id", () => {
  for (const idType of ["string", "number"] as const) {
    for (const way of ["copied", "streamed"]) {
      test(`invariant 8: nothing dropped in silence: ids of type ${idType} ${way}`, async () => {
        const collection = `ids_${idType}_${way}`;
        const entity = zooEntity(collection, collection, idType);
        if (way === "streamed") await system.create(entity);
        const refused = await insert(collection, asIds);
        // No server takes all of them: some types are forbidden there, and numbers that are equal are one _id.
        expect(refused.length, refused.join("; ")).toBeLessThan(16);
        if (way === "copied") await system.create(entity);
        await fenceById(entity);
        await system.expectEqualNow(entity);
        await expectRejects(entity);
      });
    }
  }

  test("deleting a document deletes its row, and never another type's", async () => {
    const entity = zooEntity("ids_deleted", "ids_deleted", "string");
    const collection = system.collection("ids_deleted");
    await insert("ids_deleted", asIds);
    await system.create(entity);
    await system.expectEqual(entity);
    // "-7" and -7 are different documents that would have the same key: the second is a reject, not a lost row.
    await collection.insertOne({ _id: "-7" as never, v: "text, where the int32 -7 exists" });
    await system.fence(entity);
    await expectRejects(entity);
    await collection.deleteOne({ _id: "-7" as never });
    await system.expectEqual(entity);
    for (const document of await collection.find({}, { promoteValues: false, bsonRegExp: true }).toArray()) {
      await collection.deleteOne({ _id: document._id }).catch(() => undefined);
    }
    await system.expectEqual(entity);
  });
});

/** @returns what the server refused, in words */
async function insert(collection: string, documents: readonly Uint8Array[]): Promise<string[]> {
  const outcomes = await rawInsert(system.mongo.uri, system.mongo.databaseName, collection, documents);
  return outcomes.flatMap((outcome, index) => (outcome === null ? [] : [`number ${index}: ${outcome}`]));
}

/** A fence whose `_id` fits both types of id column. */
async function fenceById(entity: EntityRequest): Promise<void> {
  if (entity.shape.id_column.type === "string") return system.fence(entity);
  await system.collection(entity.source).insertOne({ _id: 987_654_321 as never });
  await system.waitForRow(entity.name, "987654321", 30_000);
}

/** Everything that could not be mapped is counted where an operator sees it. */
async function expectRejects(entity: EntityRequest): Promise<void> {
  const expected = await expectedTable(system.collection(entity.source), entity);
  expect(expected.rejects).toBeGreaterThan(0);
  // Those that the cache finds (keys that two documents share) are stored a moment after the row was passed.
  await eventually(
    async () => (await system.api.entity(entity.name)).rejects === expected.rejects,
    10_000,
    async () => `${expected.rejects} rejects; there are ${(await system.api.entity(entity.name)).rejects}`,
  );
}

function zooArray(items: readonly { readonly type: number; readonly bytes: Uint8Array }[]): {
  type: number;
  bytes: Uint8Array;
} {
  return { type: 0x04, bytes: documentOf(items.map((item, index) => [String(index), item] as const)) };
}
