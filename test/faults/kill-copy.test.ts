import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { startDevMongoSystem } from "../support/fault-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DOCUMENTS = 24_000;

/** Documents that a copy asks for at once (`CHUNK_ROWS_MAX`). */
const CHUNK_ROWS = 2_000;

const DEADLINE_MS = 60_000;

const folder = useTestFolder("kill-copy");
let system: Awaited<ReturnType<typeof startDevMongoSystem>>;

beforeAll(async () => {
  system = await startDevMongoSystem({ folder, settings: { "copy.rows_per_s_max": 4_000 } });
});

afterAll(async () => {
  await system.dispose();
});

test("fault 3: SIGKILL during a copy at 10, 50 and 90 %: it goes on, reading at most the chunks in flight again", async () => {
  const workload = new Workload(system.collection("copied"), { seed: 3, bulkSize: 2_000 });
  await workload.write("insert", DOCUMENTS);
  const entity = workloadEntity("copied", "copied");
  const before = (await system.mongo.development.returned()).documents;
  await system.api.createEntity(entity);
  const committed: number[] = [];
  for (const share of [0.1, 0.5, 0.9]) {
    await eventually(
      async () => (await copiedRows()) >= DOCUMENTS * share,
      DEADLINE_MS,
      async () => `${share * 100} % are copied; ${await copiedRows()} are`,
    );
    await system.emcache.kill();
    committed.push(await copiedRows());
    await system.emcache.restart();
  }
  console.log(`kill during copy: committed at the kills: ${committed.join(", ")} of ${DOCUMENTS}`);
  await system.api.waitUntilLive("copied", DEADLINE_MS);
  const read = (await system.mongo.development.returned()).documents - before;
  await system.expectEqual(entity);
  const history = await system.expectLinearHistory("copied");
  // Nothing that was committed came a second time, and it was one copy.
  const starts = (await system.api.call<{ entries: { operation: string }[] }>("GET", "/api/oplogs/copied?limit=10000"))
    .entries;
  expect(starts.filter(({ operation }) => operation === "sync_start")).toHaveLength(1);
  expect(history.copyRows).toBe(DOCUMENTS + 2);
  console.log(`kill during copy: ${read - DOCUMENTS} documents read again after ${committed.length} kills`);
  // A resumed cursor begins with the last document of before; a chunk waits for the stream while the next is read.
  expect(read - DOCUMENTS).toBeLessThanOrEqual(committed.length * (2 * CHUNK_ROWS + 1));
  reportFault({ fault: 3, title: "kill during copy", source: "dev-mongo", injected: 3, lost: 0, skipped: null });
}, 300_000);

/** What is committed of the copy, by the log's own word: also while nobody runs who could tell. */
async function copiedRows(): Promise<number> {
  const client = new pg.Client({ connectionString: system.emcache.postgresUri() });
  await client.connect();
  try {
    const { rows } = await client.query<{ count: string }>("SELECT max(row_count) AS count FROM emcache.copy");
    return Number(rows[0]?.count ?? 0);
  } finally {
    await client.end();
  }
}
