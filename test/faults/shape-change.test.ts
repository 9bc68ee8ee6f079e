import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EntityRequest } from "../support/emcache-api.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import { openCache } from "../support/oracle.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 90_000;
const TEST_TIMEOUT_MS = 900_000;

/** Documents before the load begins; its copy takes some two seconds. */
const DOCUMENTS = 4_000;

const folder = useTestFolder("shape-change");

describe.each(FAULT_SOURCES)("on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startFaultSystem(source, { folder, settings: { "copy.rows_per_s_max": 2_500 } });
  });

  afterAll(async () => {
    await system.dispose();
  });

  test(
    "fault 24: invariant 6: old data until new data is whole, and fresh meanwhile: a mapping changed under load",
    async () => {
      const changes = faultRepeats({ short: 1, full: 5 });
      const workload = new Workload(system.collection("shaped"), { seed: 24, clients: 1, bulkSize: 20 });
      await workload.write("insert", DOCUMENTS);
      let entity = workloadEntity("shaped", "shaped");
      await system.create(entity);
      for (let change = 1; change <= changes; change += 1) {
        const before = columnsOf(entity);
        entity = withColumn(entity, `added_${change}`);
        const progress = { isWriting: true };
        const writing = (async () => {
          // Nothing is deleted, so that a table with fewer rows than before is one that is not whole.
          while (progress.isWriting) {
            await workload.write("insert", 10);
            await workload.write("update", 20);
          }
        })();
        try {
          await system.api.call("PUT", "/api/entities/shaped", entity);
          const looks = await watchSwitch(before, columnsOf(entity));
          console.log(`mapping change ${change}: ${looks.old} looks at the old table, then the new one`);
          expect(looks.old).toBeGreaterThan(0);
          expect(looks.freshRows, "rows that the old table got meanwhile").toBeGreaterThan(0);
        } finally {
          progress.isWriting = false;
          await writing;
        }
        await system.api.waitUntilLive("shaped", DEADLINE_MS);
        await system.expectEqual(entity, DEADLINE_MS);
      }
      reportFault({ fault: 24, title: "mapping changed", source, injected: changes, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  /** Reads the file until it shows the new columns; fails at anything but the whole old or the whole new table. */
  async function watchSwitch(
    before: readonly string[],
    after: readonly string[],
  ): Promise<{ old: number; freshRows: number }> {
    const wrong: string[] = [];
    const counts: number[] = [];
    await eventually(
      () => {
        const { columns, rows } = shown();
        if (rows < (counts.at(-1) ?? DOCUMENTS)) wrong.push(`${rows} rows after ${counts.at(-1)}`);
        if (String(columns) === String(after)) return true;
        counts.push(rows);
        if (String(columns) !== String(before)) wrong.push(`columns ${columns.join(", ")}`);
        return false;
      },
      DEADLINE_MS,
      "the new table is shown",
    );
    // It was one switch: what is shown from now on is the new table.
    if (String(shown().columns) !== String(after)) wrong.push("the old table is back");
    expect(wrong).toEqual([]);
    return { old: counts.length, freshRows: (counts.at(-1) ?? 0) - (counts[0] ?? 0) };
  }

  function shown(): { columns: string[]; rows: number } {
    const database = openCache(system.cacheFile("shaped"));
    try {
      return database.transaction(() => ({
        columns: database
          .prepare("SELECT * FROM shaped LIMIT 0")
          .columns()
          .map(({ name }) => name),
        rows: Number(database.prepare("SELECT count(*) FROM shaped").pluck().get()),
      }))();
    } finally {
      database.close();
    }
  }
});

function withColumn(entity: EntityRequest, name: string): EntityRequest {
  const columns = [...entity.shape.columns, { name, type: "string" as const, path: "$.address.zip" }];
  return { ...entity, shape: { ...entity.shape, columns } };
}

function columnsOf(entity: EntityRequest): string[] {
  return ["id", ...entity.shape.columns.map(({ name }) => name)];
}
