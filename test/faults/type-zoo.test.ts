import { Double, Int32 } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BSON_ZOO, documentOf, zooValue } from "../support/bson-zoo.ts";
import type { ColumnTypeName, EntityRequest } from "../support/emcache-api.ts";
import { reportFault } from "../support/fault-report.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import { eventually } from "../support/eventually.ts";
import { expectedTable, openCache } from "../support/oracle.ts";
import { rawInsert } from "../support/raw-insert.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import type { TestSystem } from "../support/test-system.ts";

const COLUMN_TYPES: readonly ColumnTypeName[] = ["string", "integer", "number", "bool", "jsonb", "any"];

const folder = useTestFolder("type-zoo");
let system: TestSystem;

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

describe.each(FAULT_SOURCES)("on %s", (source) => {
  beforeAll(async () => {
    system = await startFaultSystem(source, { folder });
  });

  afterAll(async () => {
    await system.dispose();
  });

  describe("each BSON type as a value, through every column type", () => {
    for (const way of ["copied", "streamed"]) {
      test(`fault 13: invariant 8: nothing dropped in silence: values ${way}`, async () => {
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
        reportFault({ fault: 13, title: `values ${way}`, source, injected: 1, lost: 0, skipped: null });
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
        test(`fault 12: invariant 8: nothing dropped in silence: ids of type ${idType} ${way}`, async () => {
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
          reportFault({ fault: 12, title: `${idType} ids ${way}`, source, injected: 1, lost: 0, skipped: null });
        });
      }
    }

    test("fault 12: ids that MongoDB holds equal are one row, those that it tells apart are two", async () => {
      const entity = zooEntity("ids_equal", "ids_equal", "string");
      const collection = system.collection("ids_equal");
      await system.create(entity);
      const one = await insert("ids_equal", [idDocument(new Int32(1), "int32"), idDocument(new Double(1), "double")]);
      expect(one.length, "1 and 1.0 are one _id").toBe(1);
      await collection.updateOne({ _id: new Double(1) }, { $set: { v: "found as 1.0" } });
      const apart = [
        idDocument({ a: 1, b: 2 }, "a first"),
        idDocument({ b: 2, a: 1 }, "b first"),
        idDocument("a\u0000b", "with NUL"),
        idDocument("a", "without"),
        idDocument("\u{1F600}", "emoji"),
      ];
      expect(await insert("ids_equal", apart)).toEqual([]);
      const { rows } = await system.expectEqual(entity);
      expect(rows).toBe(1 + apart.length + 1);
      for (const id of [{ b: 2, a: 1 }, "a\u0000b", new Double(1)]) await collection.deleteOne({ _id: id as never });
      expect((await system.expectEqual(entity)).rows).toBe(apart.length - 2 + 2);
    });

    for (const way of ["copied", "streamed"]) {
      test(`fault 27: an id of two BSON types is one row and one reject, ${way}`, async () => {
        const name = `two_types_${way}`;
        const zoo = zooEntity(name, name, "string");
        // Of columns only one that takes any text, so that the id is all there is to refuse.
        const entity = { ...zoo, shape: { ...zoo.shape, columns: zoo.shape.columns.slice(0, 1) } };
        if (way === "streamed") await system.create(entity);
        await insert(name, [idDocument(new Int32(1), "the number"), idDocument("1", "the text")]);
        if (way === "copied") await system.create(entity);
        expect((await system.expectEqual(entity)).rows).toBe(1 + 1);
        await expectRejects(entity);
        expect((await system.api.entity(name)).rejects).toBe(1);
        // The one that has no row goes: the other's row stays.
        const shown = rowOf(name, "1");
        await system.collection(name).deleteOne({ _id: (shown === "the number" ? "1" : new Int32(1)) as never });
        await system.expectEqual(entity);
        expect(rowOf(name, "1")).toBe(shown);
        reportFault({ fault: 27, title: "an id of two types", source, injected: 1, lost: 0, skipped: null });
      });
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
});

function idDocument(id: unknown, text: string): Uint8Array {
  return documentOf([
    ["_id", zooValue(id)],
    ["v", zooValue(text)],
  ]);
}

/** The text under `v` that a row shows. */
function rowOf(entity: string, id: string): unknown {
  const database = openCache(system.cacheFile(entity));
  try {
    return database.prepare("SELECT as_string FROM data WHERE id = ?").pluck().get(id);
  } finally {
    database.close();
  }
}

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
