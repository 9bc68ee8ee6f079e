import { BSON, Int32, MongoClient } from "mongodb";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevMongoProcess } from "../support/dev-mongo-process.ts";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import { openCache } from "../support/oracle.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;
const TEST_TIMEOUT_MS = 900_000;

/** What is made of the token that the checkpoint holds. */
const BAD_TOKENS: Readonly<Record<string, (token: Buffer) => Buffer | Promise<Buffer>>> = {
  "of no server": () => encode({ _data: "00112233" }),
  "cut short": (token) => {
    const { _data } = BSON.deserialize(token) as { _data: string };
    return encode({ _data: _data.slice(0, _data.length >> 1) });
  },
  "of another server": () => strangeToken(),
  "no BSON": () => Buffer.from("nonsense"),
};

const folder = useTestFolder("lost-history");
/** Another server, whose tokens this source does not know. */
let stranger: DevMongoProcess;

beforeAll(async () => {
  stranger = await DevMongoProcess.start({ folder });
});

afterAll(async () => {
  await stranger.stop();
});

describe.each(FAULT_SOURCES)("on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startFaultSystem(source, {
      folder,
      oplogEntriesMax: 2_000,
      settings: { "copy.rows_per_s_max": 3_000 },
    });
  });

  afterAll(async () => {
    await system.dispose();
  });

  test(
    "fault 8: invariant 7: no orphans: an oplog outrun while stopped costs a new copy, with the old data served meanwhile",
    async () => {
      const collection = system.collection("lost");
      const documents = Array.from({ length: 4_000 }, (_, index) => ({ _id: index as never, seq: new Int32(1) }));
      await collection.insertMany(documents);
      const entity = workloadEntity("lost", "lost");
      const before = await system.create(entity);
      await system.emcache.stop();
      await collection.deleteMany({ _id: { $gte: 1_500 } } as never);
      await collection.insertMany(
        Array.from({ length: 900 }, (_, index) => ({ _id: (10_000 + index) as never, seq: new Int32(2) })),
      );
      await system.emcache.restart();
      const seen = new Set<number>();
      await eventually(
        () => {
          const { rows, orphans } = countRows();
          seen.add(rows);
          return rows === 2_400 && orphans === 0;
        },
        DEADLINE_MS,
        () => `the copy has replaced what was lost; row counts seen: ${[...seen].join(", ")}`,
      );
      // Until the copy was whole, readers had all of the old rows.
      expect(Math.min(...seen)).toBe(2_400);
      expect(seen.has(4_000)).toBe(true);
      expect(await system.api.waitUntilLive("lost", DEADLINE_MS)).toMatchObject({ id: before.id });
      await system.expectEqual(entity, DEADLINE_MS);
      expect(system.emcache.logs()).toContain(`"event":"history_lost"`);
      reportFault({ fault: 8, title: "oplog outrun", source, injected: 1, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  function countRows(): { rows: number; orphans: number } {
    const database = openCache(system.cacheFile("lost"));
    try {
      const count = (where: string): number =>
        Number(database.prepare(`SELECT count(*) FROM lost ${where}`).pluck().get());
      return { rows: count(""), orphans: count("WHERE CAST(id AS INTEGER) BETWEEN 1500 AND 9999") };
    } finally {
      database.close();
    }
  }

  for (const [name, made] of Object.entries(BAD_TOKENS)) {
    test(
      `fault 9: a resume token that is ${name} is refused: a new copy, never a start at now`,
      async () => {
        const collectionName = `token_${name.replaceAll(" ", "_")}`;
        const collection = system.collection(collectionName);
        const workload = new Workload(collection, { seed: 9, bulkSize: 50 });
        await workload.write("insert", 200);
        const entity = workloadEntity(collectionName, collectionName);
        await system.create(entity);
        await system.expectEqual(entity);
        await system.emcache.kill();
        // What happens now is in no stream that begins later.
        await workload.write("mixed", 100);
        const [row] = await runSql("SELECT resume_token FROM emcache.source_checkpoint");
        const token = await made(row?.["resume_token"] as Buffer);
        await runSql("UPDATE emcache.source_checkpoint SET resume_token = $1", [token]);
        await system.emcache.restart();
        await eventually(
          () => system.emcache.logs().includes(`"event":"history_lost"`),
          DEADLINE_MS,
          () => `the alarm is raised; ${system.emcache.logs().slice(-2_000)}`,
        );
        await system.expectEqual(entity, DEADLINE_MS);
        const { entries } = await system.api.call<{ entries: { operation: string }[] }>(
          "GET",
          `/api/oplogs/${collectionName}?limit=10000`,
        );
        expect(entries.filter(({ operation }) => operation === "sync_start").length).toBe(2);
        await system.expectLinearHistory(collectionName);
        reportFault({ fault: 9, title: name, source, injected: 1, lost: 0, skipped: null });
      },
      TEST_TIMEOUT_MS,
    );
  }

  async function runSql(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: system.emcache.postgresUri() });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text, values)).rows;
    } finally {
      await client.end();
    }
  }
});

function encode(token: BSON.Document): Buffer {
  return Buffer.from(BSON.serialize(token));
}

/** The token of an event on a server that the source has nothing to do with. */
async function strangeToken(): Promise<Buffer> {
  const client = await new MongoClient(stranger.uri).connect();
  try {
    const collection = client.db("strange").collection("things");
    const stream = collection.watch();
    const next = stream.next();
    await eventually(
      async () => {
        await collection.insertOne({});
        return Promise.race([next, new Promise((resolve) => setTimeout(resolve, 50))]);
      },
      DEADLINE_MS,
      "an event on the other server",
    );
    const { _id } = await next;
    await stream.close();
    return encode(_id as BSON.Document);
  } finally {
    await client.close();
  }
}
