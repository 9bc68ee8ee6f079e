import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import { openCache } from "../support/oracle.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;

const folder = useTestFolder("collection-changes");

describe.each(FAULT_SOURCES)("on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startFaultSystem(source, { folder });
  });

  afterAll(async () => {
    await system.dispose();
  });

  // MongoDB manual, "Change Events": drop, rename, dropDatabase, invalidate.
  test("fault 14: drop, re-create, rename away, rename onto, rename with dropTarget, dropDatabase", async () => {
    const entity = workloadEntity("changed", "changed");
    const other = workloadEntity("untouched", "untouched");
    const { database } = system.mongo;
    let seed = 140;
    const fill = async (collection: string, count: number): Promise<void> => {
      seed += 1;
      await new Workload(database.collection(collection), { seed, bulkSize: 500 }).write("insert", count);
    };
    await fill("changed", 400);
    await fill("untouched", 100);
    await system.create(entity);
    await system.create(other);
    await system.expectEqual(entity);

    await database.collection("changed").drop();
    await expectEmpty();
    await fill("changed", 300);
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(301);

    await database.collection("changed").rename("elsewhere");
    await expectEmpty();
    // Writes to what it is called now are no longer its own.
    await fill("elsewhere", 50).catch(() => "some ids are there already");
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(1);

    await database.collection("changed").drop();
    await fill("fresh", 200);
    await database.collection("fresh").rename("changed");
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(201);

    await fill("replacement", 150);
    await database.collection("replacement").rename("changed", { dropTarget: true });
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(151);

    // What is dropped and filled again before anybody has looked.
    await database.collection("changed").drop();
    await fill("changed", 120);
    await database.collection("changed").drop();
    await fill("changed", 70);
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(71);

    await database.dropDatabase();
    await expectEmpty();
    await eventually(() => rowCount("untouched") === 0, DEADLINE_MS, "the other entity is empty too");
    await fill("changed", 90);
    await fill("untouched", 10);
    expect((await system.expectEqual(entity, DEADLINE_MS)).rows).toBe(91);
    expect((await system.expectEqual(other, DEADLINE_MS)).rows).toBe(11);
    for (const name of ["changed", "untouched"]) {
      expect(await system.api.entity(name)).toMatchObject({ state: "live", last_error: null });
    }
    reportFault({ fault: 14, title: "collection changes", source, injected: 7, lost: 0, skipped: null });
  }, 300_000);

  async function expectEmpty(): Promise<void> {
    await eventually(
      () => rowCount("changed") === 0,
      DEADLINE_MS,
      () => `no rows; there are ${rowCount("changed")}`,
    );
    expect((await system.api.entity("changed")).state).toBe("live");
  }

  function rowCount(entity: string): number {
    const cache = openCache(system.cacheFile(entity));
    try {
      return Number(cache.prepare(`SELECT count(*) FROM "${entity}"`).pluck().get());
    } finally {
      cache.close();
    }
  }
});
