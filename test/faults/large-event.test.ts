import pg from "pg";
import { Int32 } from "mongodb";
import { afterEach, describe, expect, test } from "vitest";
import type { EntityRequest } from "../support/emcache-api.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { startDevMongoSystem, startFaultSystem } from "../support/fault-system.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";

const DEADLINE_MS = 90_000;
const TEST_TIMEOUT_MS = 900_000;

/** A document's limit (MongoDB manual, "MongoDB Limits and Thresholds"). */
const DOCUMENT_BYTES_MAX = 16 * 1024 * 1024;

/** An event names its document beside the document itself: with this `_id` it is larger than a document may be. */
const ID = "large".repeat(50_000);

/** How long each answer of the stream takes while a kill is to hit between two of them. */
const REPLY_DELAY_MS = 1_500;

const ENTITY: EntityRequest = {
  name: "large",
  client: "main",
  source: "large",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "seq", type: "integer", path: "$.seq" },
      { name: "payload", type: "string", path: "$.payload" },
    ],
    indexes: [],
  },
};

const folder = useTestFolder("large-event");
let system: TestSystem | null = null;

afterEach(async () => {
  await system?.dispose();
  system = null;
});

const POST_IMAGES = { "sources.main.full_document": "post_image" };

/** A document of 16 MB less what its other fields take. */
function payloadOf(seq: number): string {
  return String(seq % 10).repeat(DOCUMENT_BYTES_MAX - ID.length - 200);
}

async function insert({ mongo }: TestSystem): Promise<void> {
  await mongo.database.createCollection("large", { changeStreamPreAndPostImages: { enabled: true } });
  await mongo.database.collection("large").insertOne({ _id: ID as never, seq: new Int32(1), payload: payloadOf(1) });
}

async function update({ mongo }: TestSystem, seq: number): Promise<void> {
  await mongo.database
    .collection("large")
    .updateOne({ _id: ID as never }, { $set: { seq: new Int32(seq), payload: payloadOf(seq) } });
}

/** How many rows of the log show the large document at each `seq`, without reading their payloads. */
async function rowsBySeq({ emcache }: TestSystem): Promise<Record<string, number>> {
  const client = new pg.Client({ connectionString: emcache.postgresUri() });
  await client.connect();
  try {
    const { rows } = await client.query<{ seq: string; count: string }>(
      `SELECT substring(left(data, 20) FROM '^\\[(\\d+),') AS seq, count(*) AS count FROM emcache.oplog
       WHERE length(doc_id) = $1 GROUP BY 1`,
      [ID.length],
    );
    return Object.fromEntries(rows.map(({ seq, count }) => [seq, Number(count)]));
  } finally {
    await client.end();
  }
}

// MongoDB manual, "$changeStreamSplitLargeEvent".
test(
  "fault 11: SIGKILL between the fragments of a 16 MB update with images: one exact row",
  async () => {
    const kills = faultRepeats({ short: 2, full: 18 });
    const dev = await startDevMongoSystem({ folder, settings: POST_IMAGES });
    system = dev;
    const { development } = dev.mongo;
    await insert(dev);
    await dev.create(ENTITY, DEADLINE_MS);
    await dev.expectEqual(ENTITY, DEADLINE_MS);
    for (let kill = 1; kill <= kills; kill += 1) {
      const seq = kill + 1;
      const before = (await development.returned()).events;
      await development.fault("failCommands", {
        commands: ["getMore"],
        delayMs: REPLY_DELAY_MS,
        times: 1_000,
      });
      await update(dev, seq);
      const sent = await eventually(
        async () => {
          const { events } = await development.returned();
          return events > before ? events - before : null;
        },
        DEADLINE_MS,
        "the first fragment was sent",
      );
      await dev.emcache.kill();
      expect(sent, "fragments that were sent before the kill").toBe(1);
      await development.fault("reset");
      // Every other time the server sends the fragments before the token again.
      if (kill % 2 === 0) await development.fault("fragments", { kind: "repeat" });
      await dev.emcache.restart();
      await dev.expectEqual(ENTITY, DEADLINE_MS);
      expect((await rowsBySeq(dev))[seq]).toBe(1);
      await development.fault("reset");
    }
    expect(dev.emcache.logs()).not.toContain(`"event":"history_lost"`);
    reportFault({
      fault: 11,
      title: "between fragments",
      source: "dev-mongo",
      injected: kills,
      lost: 0,
      skipped: null,
    });
  },
  TEST_TIMEOUT_MS,
);

describe("on servers that split no events", () => {
  // MongoDB 6.0: images, but no such stage; the event fails with 10334, BSONObjectTooLarge.
  test(
    "fault 11: a 16 MB update with images on a server without the split stage: one exact row, and no new copy",
    async () => {
      const dev = await startDevMongoSystem({
        folder: `${folder}/old`,
        settings: POST_IMAGES,
        flags: ["--wire-version", "17"],
      });
      system = dev;
      await expectOneRow(dev);
      reportFault({ fault: 11, title: "no stage", source: "dev-mongo", injected: 1, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  test(
    "fault 11: a 16 MB update that is looked up: one exact row",
    async () => {
      system = await startFaultSystem("SecantusDB", { folder });
      await expectOneRow(system);
      reportFault({ fault: 11, title: "looked up", source: "SecantusDB", injected: 1, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );
});

async function expectOneRow(on: TestSystem): Promise<void> {
  await insert(on);
  await on.create(ENTITY, DEADLINE_MS);
  await on.expectEqual(ENTITY, DEADLINE_MS);
  await update(on, 2);
  await on.expectEqual(ENTITY, DEADLINE_MS);
  expect(await rowsBySeq(on)).toEqual({ 1: 1, 2: 1 });
  expect(on.emcache.logs()).not.toContain(`"event":"history_lost"`);
}
