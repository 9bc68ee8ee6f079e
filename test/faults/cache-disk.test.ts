import { copyFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { LogReplay } from "../support/log-replay.ts";
import { openCache, readMetadata } from "../support/oracle.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;

const folder = useTestFolder("cache-disk");
const cleanUps: (() => Promise<void> | void)[] = [];

afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

test("fault 18: the caches' disk full, then read-only: the entity says so, no wrong read, and it heals itself", async (context) => {
  const line = { fault: 18, title: "Cache disk full, read-only", source: "SecantusDB", lost: 0 } as const;
  const disk = SmallDisk.mount(join(folder, "caches"));
  if (typeof disk === "string") {
    reportFault({ ...line, injected: 0, skipped: disk });
    return context.skip(disk);
  }
  cleanUps.push(() => disk.unmount());
  const system = await TestSystem.start({ folder, settings: { "snapshot.min_lag": 1_000_000_000 } });
  cleanUps.push(() => system.dispose());
  const entity = workloadEntity("small", "small");
  const workload = new Workload(system.collection("small"), { seed: 18, bulkSize: 100 });
  await workload.write("insert", 2_000);
  await system.create(entity);
  await system.expectEqual(entity);

  disk.fill();
  await workload.write("mixed", 3_000);
  await untilSaid(system, /full|disk|space/i);
  // What is served is a state that was: none of what did not fit, or all of it up to some commit.
  await expectHistoricState(system, system.cacheFile("small"));
  disk.free();
  await system.expectEqual(entity, DEADLINE_MS);
  await untilWell(system);

  await system.emcache.stop();
  disk.setReadOnly(true);
  await workload.write("mixed", 500);
  await system.emcache.restart();
  await untilSaid(system, /read-only|EROFS|readonly/i);
  // SQLite itself opens no WAL database on a read-only disk: what lies there is read elsewhere.
  const elsewhere = join(folder, "small.db");
  copyFileSync(realpathSync(system.cacheFile("small")), elsewhere);
  await expectHistoricState(system, elsewhere);
  disk.setReadOnly(false);
  await system.expectEqual(entity, DEADLINE_MS);
  await untilWell(system);
  await system.expectLinearHistory("small");
  reportFault({ ...line, injected: 2, skipped: null });
}, 300_000);

async function untilSaid(system: TestSystem, words: RegExp): Promise<void> {
  await eventually(
    async () => {
      const error = (await system.api.entity("small")).last_error;
      return error?.code === "cache_unavailable" && words.test(error.detail);
    },
    DEADLINE_MS,
    async () => `the entity says ${words.source}; it shows ${JSON.stringify(await system.api.entity("small"))}`,
  );
}

async function untilWell(system: TestSystem): Promise<void> {
  await eventually(
    async () => (await system.api.entity("small")).last_error === null,
    DEADLINE_MS,
    async () => `the entity is well; it shows ${JSON.stringify(await system.api.entity("small"))}`,
  );
}

/** The file is what the log says at the position that the file names. */
async function expectHistoricState(system: TestSystem, file: string): Promise<void> {
  const replay = await LogReplay.read(system.api, "small");
  const database = openCache(file);
  try {
    database.transaction(() => {
      const rows = database.prepare("SELECT id, seq FROM data").raw().all() as [string, bigint][];
      const table = replay.tableAt(readMetadata(database).position);
      expect(rows.length).toBe(table.size);
      for (const [id, seq] of rows) expect(Number(seq)).toBe(Number(table.get(id)));
    })();
  } finally {
    database.close();
  }
}
