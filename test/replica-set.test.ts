import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { MongoClient } from "mongodb";
import { expect, test } from "vitest";
import { eventually } from "./support/eventually.ts";
import { TestSystem } from "./support/test-system.ts";
import { useTestFolder } from "./support/use-test-folder.ts";
import { Workload, workloadEntity } from "./support/workload.ts";

/**
 * What dev-mongo acts out, by a real replica set: the GitHub workflow starts three members in Docker containers and
 * names them in `EMCACHE_TEST_REPLICA_SET` (`container=port,…`), with `EMCACHE_TEST_MONGO_URI` naming the set.
 */
const MEMBERS = (process.env["EMCACHE_TEST_REPLICA_SET"] ?? "")
  .split(",")
  .filter((member) => member !== "")
  .map((member) => member.split("="))
  .map(([container = "", port = ""]) => ({ container, port: Number(port) }));

const folder = useTestFolder("replica-set");
const entity = workloadEntity("items", "items");

/** Elections take up to `electionTimeoutMillis` (10 s), twice where the first finds no majority. */
const ELECTION_MS_MAX = 90_000;

test.skipIf(MEMBERS.length < 3)(
  "a real primary steps down, again and again, under writes: nothing is lost",
  async () => {
    const system = await TestSystem.start({ folder });
    try {
      await system.create(entity);
      const workload = new Workload(system.collection("items"), { seed: 1, clients: 2, bulkSize: 20 });
      for (let round = 0; round < 5; round++) {
        const writing = workload.write("insert", 500);
        const primary = await primaryOf(null);
        await onMember(primary.port, async (client) => {
          await client.db("admin").command({ replSetStepDown: 5, secondaryCatchUpPeriodSecs: 4, force: true });
        }).catch(() => "before 4.2 the primary closed the connection");
        await writing;
        await workload.write("update", 200);
      }
      await system.expectEqual(entity, ELECTION_MS_MAX);
      await system.expectLinearHistory(entity.name);
    } finally {
      await system.dispose();
    }
  },
  900_000,
);

test.skipIf(MEMBERS.length < 3)(
  "what a real failover rolls back (manual, 'Rollbacks During Replica Set Failover') was never in the log",
  async () => {
    const system = await TestSystem.start({ folder });
    try {
      await system.collection("items").insertOne({ _id: "kept" as never });
      await system.create(entity);
      const primary = await primaryOf(null);
      const others = MEMBERS.filter(({ port }) => port !== primary.port);
      for (const { container } of others) await docker("pause", container);
      await onMember(primary.port, (client) =>
        client
          .db(system.mongo.databaseName)
          .collection("items")
          .insertOne({ _id: "rolled-back" as never }, { writeConcern: { w: 1 } }),
      );
      await docker("kill", primary.container);
      for (const { container } of others) await docker("unpause", container);
      await primaryOf(primary.port);
      await system.collection("items").insertOne({ _id: "after" as never });
      await docker("start", primary.container);
      await system.waitForRow(entity.name, "after", ELECTION_MS_MAX);
      const { entries } = await system.api.call<{ entries: { doc_id: string }[] }>(
        "GET",
        `/api/oplogs/${entity.name}?limit=1000`,
      );
      const ids = entries.map(({ doc_id }) => doc_id);
      expect(ids).toContain("after");
      expect(ids).not.toContain("rolled-back");
      await system.expectEqual(entity, ELECTION_MS_MAX);
    } finally {
      await system.dispose();
    }
  },
  900_000,
);

/** Waits for a primary that is not the member of port `otherThan`. */
async function primaryOf(otherThan: number | null): Promise<(typeof MEMBERS)[number]> {
  return eventually(
    async () => {
      for (const member of MEMBERS) {
        if (member.port === otherThan) continue;
        const isPrimary = await onMember(member.port, async (client) => {
          const hello = await client.db("admin").command({ hello: 1 });
          return hello["isWritablePrimary"] === true;
        }).catch(() => false);
        if (isPrimary) return member;
      }
      return null;
    },
    ELECTION_MS_MAX,
    "the replica set has a primary",
  );
}

async function onMember<Result>(port: number, action: (client: MongoClient) => Promise<Result>): Promise<Result> {
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 5_000,
    socketTimeoutMS: 20_000,
  });
  try {
    return await action(await client.connect());
  } finally {
    await client.close();
  }
}

async function docker(...parameters: string[]): Promise<void> {
  await promisify(execFile)("docker", parameters);
}
