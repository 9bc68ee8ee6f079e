import { join } from "node:path";
import { Int32, type AnyBulkWriteOperation } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EntityRequest } from "../support/emcache-api.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { FAULT_SOURCES, startDevMongoSystem, startFaultSystem } from "../support/fault-system.ts";
import { openCache } from "../support/oracle.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

const DEADLINE_MS = 120_000;
const TEST_TIMEOUT_MS = 900_000;

const NAMES = ["orders", "items", "stock"] as const;

/** Documents of each collection before the first transaction. */
const DOCUMENTS = 1_500;

/** Operations of one transaction on one collection: two thirds updates, the rest inserts and deletes. */
const OPERATIONS = 3_334;

const folder = useTestFolder("transaction");

/** All documents of a collection carry the number of the last transaction, so that a half of one shows. */
function entityOf(name: string): EntityRequest {
  return {
    name,
    client: "main",
    source: name,
    shape: {
      id_column: { path: "$._id", type: "string" },
      columns: [
        { name: "seq", type: "integer", path: "$.seq" },
        { name: "text", type: "string", path: "$.text" },
      ],
      indexes: [],
    },
  };
}

async function fill(system: TestSystem): Promise<void> {
  for (const name of NAMES) {
    const documents = Array.from({ length: DOCUMENTS }, (_, id) => ({ _id: id as never, ...stateOf(1) }));
    await system.collection(name).insertMany(documents);
    await system.create(entityOf(name));
  }
}

function stateOf(number: number): { seq: Int32; text: string } {
  return { seq: new Int32(number), text: `written by transaction ${number}` };
}

/** Writes every document that exists, several of them again and again, takes some away and adds as many. */
function operationsOf(number: number): AnyBulkWriteOperation[] {
  const moved = 100;
  const first = (number - 2) * moved;
  const operations: AnyBulkWriteOperation[] = [];
  for (let id = first; id < first + moved; id += 1) operations.push({ deleteOne: { filter: { _id: id as never } } });
  for (let id = first + moved; id < first + DOCUMENTS; id += 1) {
    operations.push({ updateOne: { filter: { _id: id as never }, update: { $set: stateOf(number) } } });
  }
  for (let id = first + DOCUMENTS; id < first + DOCUMENTS + moved; id += 1) {
    operations.push({ insertOne: { document: { _id: id as never, ...stateOf(number) } } });
  }
  for (let id = first + moved; operations.length < OPERATIONS; id += 1) {
    const replacement = { ...stateOf(number), round: operations.length };
    const filter = { _id: (first + moved + (id % DOCUMENTS)) as never };
    operations.push({ replaceOne: { filter, replacement } });
  }
  return operations;
}

async function runTransaction(system: TestSystem, number: number): Promise<void> {
  await system.mongo.client.withSession((session) =>
    session.withTransaction(async () => {
      for (const name of NAMES) {
        const operations = operationsOf(number);
        for (let start = 0; start < operations.length; start += 500) {
          await system.collection(name).bulkWrite(operations.slice(start, start + 500), { session, ordered: true });
        }
      }
    }),
  );
}

/** What a reader of the file sees now. */
function shown(system: TestSystem, name: string): { rows: number; least: number; most: number } {
  const database = openCache(system.cacheFile(name));
  try {
    const row = database.prepare(`SELECT count(*), min(seq), max(seq) FROM "${name}"`).raw().get() as bigint[];
    return { rows: Number(row[0]), least: Number(row[1]), most: Number(row[2]) };
  } finally {
    database.close();
  }
}

describe("with post-images", () => {
  let system: Awaited<ReturnType<typeof startDevMongoSystem>>;

  beforeAll(async () => {
    system = await startDevMongoSystem({ folder, settings: { "sources.main.full_document": "post_image" } });
    for (const name of NAMES) {
      await system.mongo.database.createCollection(name, { changeStreamPreAndPostImages: { enabled: true } });
    }
    await fill(system);
  });

  afterAll(async () => {
    await system.dispose();
  });

  // Images, and so exact transactions, only dev-mongo has here (MongoDB manual, "Change Streams with Document Pre- and
  // Post-Images").
  test(
    "fault 15: 10,000 operations in one transaction over 3 entities: no file ever shows half of it",
    async () => {
      const count = faultRepeats({ short: 1, full: 5 });
      let looks = 0;
      const halves: string[] = [];
      for (let number = 2; number < 2 + count; number += 1) {
        const running = runTransaction(system, number);
        await eventually(
          () => {
            const states = NAMES.map((name) => shown(system, name));
            looks += states.length;
            for (const { rows, least, most } of states) {
              if (rows === DOCUMENTS && least === most) continue;
              halves.push(`${rows} rows with numbers ${least} to ${most}`);
            }
            return states.every(({ most }) => most === number);
          },
          DEADLINE_MS,
          () => `transaction ${number} is shown`,
        );
        await running;
        for (const name of NAMES) await system.expectEqualNow(entityOf(name));
      }
      console.log(`transactions: ${looks} looks at files while ${count} came`);
      expect(halves).toEqual([]);
      expect(looks).toBeGreaterThan(10);
      reportFault({ fault: 15, title: "transaction", source: "dev-mongo", injected: count, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );
});

describe.each(FAULT_SOURCES)("with look-ups, on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startFaultSystem(source, { folder: join(folder, "look-ups") });
    await fill(system);
  });

  afterAll(async () => {
    await system.dispose();
  });

  test(
    "fault 15: 10,000 operations in one transaction over 3 entities: with look-ups the caches converge",
    async () => {
      await runTransaction(system, 2);
      for (const name of NAMES) {
        await system.expectEqual(entityOf(name), DEADLINE_MS);
        await system.expectLinearHistory(name);
      }
      reportFault({ fault: 15, title: "transaction, looked up", source, injected: 1, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );
});
