import { join } from "node:path";
import { MongoClient } from "mongodb";
import { afterAll, expect, test } from "vitest";
import { EmcacheApi, type EntityRequest } from "./support/emcache-api.ts";
import { EmcacheProcess } from "./support/emcache-process.ts";
import { eventually } from "./support/eventually.ts";
import { openCache } from "./support/oracle.ts";
import { useTestFolder } from "./support/use-test-folder.ts";

const NOTES: EntityRequest = {
  name: "notes",
  client: "main",
  source: "notes",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [{ name: "text", type: "string", path: "$.text" }],
    indexes: [],
  },
};

const folder = useTestFolder("embedded-source");
let emcache: EmcacheProcess | null = null;
afterAll(async () => {
  await emcache?.dispose();
});

/** Writes to the embedded server, at the address that the log names. */
async function write(running: EmcacheProcess, ids: readonly string[]): Promise<void> {
  const line = running.logLines().find(({ event }) => event === "embedded_source_started");
  expect(line?.msg).toContain("not MongoDB");
  const client = await new MongoClient(String(line?.["uri"])).connect();
  await client
    .db("shop")
    .collection("notes")
    .insertMany(ids.map((id) => ({ _id: id as never, text: `text of ${id}` })));
  await client.close();
}

function rowIds(running: EmcacheProcess): unknown[] {
  const database = openCache(join(running.cacheFolder, "notes.db"));
  try {
    return database.prepare("SELECT id FROM notes ORDER BY id").pluck().all();
  } finally {
    database.close();
  }
}

function waitForRows(running: EmcacheProcess, ids: readonly string[]): Promise<unknown> {
  return eventually(
    () => JSON.stringify(rowIds(running)) === JSON.stringify(ids),
    30_000,
    () => `rows ${ids.join(", ")}; there are ${rowIds(running).join(", ")}`,
  );
}

test('uri = "embedded": a source in the process; after a restart, which empties it, a new copy and no alarm that stays', async () => {
  const sources = { main: { uri: "embedded", database: "shop" } };
  const running = await EmcacheProcess.start({ folder, sources });
  emcache = running;
  const api = new EmcacheApi(() => running.address);
  await write(running, ["a", "b", "c"]);
  await api.createEntity(NOTES);
  await api.waitUntilLive("notes", 30_000);
  await waitForRows(running, ["a", "b", "c"]);

  await running.stop();
  await running.restart();
  // What was there is served until the copy of what is there now is whole.
  await waitForRows(running, []);
  await write(running, ["d"]);
  await waitForRows(running, ["d"]);
  await eventually(
    async () => (await api.health()).status === "healthy",
    30_000,
    async () => `healthy; it says ${JSON.stringify(await api.health())}`,
  );
  const interruptions = running.logLines().filter(({ event }) => event === "capture_interrupted");
  expect(interruptions.length).toBeLessThanOrEqual(1);
});
