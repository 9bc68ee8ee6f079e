import { BSON } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { useTestFolder } from "./use-test-folder.ts";
import { type TestMongo, startKillableMongo } from "./test-mongo.ts";
import type { SecantusServer } from "./secantus.ts";
import { Workload } from "./workload.ts";

const folder = useTestFolder("workload");
let mongo: TestMongo & { readonly server: SecantusServer };

beforeAll(async () => {
  mongo = await startKillableMongo({ folder });
});

afterAll(async () => {
  await mongo.stop();
});

test("the writer knows what it wrote", async () => {
  const collection = mongo.database.collection("known");
  const workload = new Workload(collection, { seed: 1, bulkSize: 50 });
  await workload.write("insert", 300);
  await workload.write("mixed", 300);
  await workload.write("delete", 40);
  await workload.write("update", 100);
  expect(await collection.countDocuments()).toBe(workload.documentCount);
  expect(Math.min(...Object.values({ ...workload.counts, failed: 1 }))).toBeGreaterThan(0);
  const one = await collection.findOne({}, { raw: true });
  expect(BSON.calculateObjectSize(one as never)).toBeGreaterThan(300);
});

test("acknowledged writes survive a SIGKILL of the server, others are settled", async () => {
  const collection = mongo.database.collection("killed");
  const workload = new Workload(collection, { seed: 2, bulkSize: 100, isErrorExpected: true });
  await workload.write("insert", 500);
  const stop = new AbortController();
  const writing = workload.writeUntil(stop.signal);
  await mongo.server.kill();
  await mongo.server.restart();
  stop.abort();
  await writing;
  await workload.settle();
  expect(workload.counts.failed).toBeGreaterThan(0);
  expect(await collection.countDocuments()).toBe(workload.documentCount);
});
