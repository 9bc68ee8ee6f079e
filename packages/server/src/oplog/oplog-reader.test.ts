import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { type LogFixture, batchOf, bracket, startLogFixture, testSignal, upsert } from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
});
afterEach(() => fixture.stop());

function page(
  after: number,
  limit: number,
  versions?: number[],
  bytesMax?: number,
): ReturnType<LogFixture["reader"]["page"]> {
  return fixture.reader.page({
    after,
    limit,
    signal: testSignal(),
    ...(versions === undefined ? {} : { versions }),
    ...(bytesMax === undefined ? {} : { bytesMax }),
  });
}

test("an empty log", async () => {
  expect(await page(0, 10)).toMatchObject({
    floor: 1,
    head: 0,
    rows: [],
    position: 0,
    tag: "",
    tagAtFrom: "",
    full: false,
  });
});

test("pages of any size give the same rows, and say where they end", async () => {
  const log = await fixture.log("main");
  for (const size of [1, 3, 200, 7, 1]) {
    await log.append(batchOf(Array.from({ length: size }, (_, index) => upsert(`${size} ${index}`))), testSignal());
  }
  const all = await fixture.readAll();
  expect(all.map(({ position }) => position)).toEqual(Array.from({ length: 212 }, (_, index) => index + 1));
  for (const limit of [1, 2, 5, 100, 212, 213]) {
    const rows = await fixture.readAll(limit);
    expect(rows).toEqual(all);
  }
  expect(await page(0, 212)).toMatchObject({ full: true, position: 212 });
  expect(await page(0, 213)).toMatchObject({ full: false, position: 212 });
  const [first, second] = [await page(0, 10), await page(10, 10)];
  expect(second.tagAtFrom).toBe(first.tag);
  expect(first.batches.map(({ first: position, count }) => [position, count])).toEqual([
    [1, 1],
    [2, 3],
    [5, 6],
  ]);
  expect((await fixture.reader.batchAt(10))?.tag).toBe(first.tag);
  expect(await fixture.reader.batchAt(213)).toBeNull();
});

test("a page of some entities says how far it scanned", async () => {
  const log = await fixture.log("main");
  for (let index = 0; index < 20; index++)
    await log.append(batchOf([upsert(`a${index}`, 1), upsert(`b${index}`, 2)]), testSignal());
  const some = await page(0, 3, [2]);
  expect(some.rows.map(({ docId, position }) => [docId, position])).toEqual([
    ["b0", 2],
    ["b1", 4],
    ["b2", 6],
  ]);
  expect(some).toMatchObject({ position: 6, full: true });
  expect(await page(6, 100, [2])).toMatchObject({ position: 40, full: false });
  const none = await page(5, 100, [9]);
  expect(none).toMatchObject({ rows: [], position: 40, full: false, tag: (await page(39, 1)).tag });
});

test("a page ends by bytes, and one row that is larger comes alone", async () => {
  const log = await fixture.log("main");
  const large = { ...upsert("large"), data: JSON.stringify(["x".repeat(2_000_000)]) };
  await log.append(batchOf([upsert("a"), large, upsert("b"), upsert("c")]), testSignal());
  const first = await page(0, 100, undefined, 1_000);
  expect(first.rows.map(({ docId }) => docId)).toEqual(["a", "large"]);
  expect(first).toMatchObject({ position: 2, full: true });
  expect((await page(1, 100, undefined, 1_000)).rows.map(({ docId }) => docId)).toEqual(["large"]);
  expect((await page(2, 100, undefined, 1_000)).full).toBe(false);
});

test("a reader that is ahead of the log learns that it doesn't share its history", async () => {
  const log = await fixture.log("main");
  await log.append(batchOf([upsert("a")]), testSignal());
  expect(await page(5, 10)).toMatchObject({ rows: [], head: 1, position: 5, tagAtFrom: null });
});

describe("a hole is an error that the reader sees", () => {
  beforeEach(async () => {
    const log = await fixture.log("main");
    for (let index = 0; index < 5; index++)
      await log.append(batchOf([upsert(`a${index}`, 1), upsert(`b${index}`, 2)]), testSignal());
  });

  for (const first of [1, 3, 5, 9]) {
    test(`a batch is missing at ${first}`, async () => {
      await fixture.postgres.pool.query("DELETE FROM emcache.batch WHERE first_position = $1", [first]);
      await expect(fixture.readAll()).rejects.toMatchObject({ code: "oplog_hole", details: { position: first } });
      await expect(page(0, 100, [1])).rejects.toMatchObject({ code: "oplog_hole" });
      await expect(page(0, 100, [77])).rejects.toMatchObject({ code: "oplog_hole" });
    });
  }

  for (const [batch, number] of [
    [0, 0],
    [2, 1],
    [4, 1],
  ]) {
    test(`row ${number} of batch ${batch} is missing`, async () => {
      await fixture.postgres.pool.query("DELETE FROM emcache.oplog WHERE batch_id = $1 AND number = $2", [
        batch,
        number,
      ]);
      await expect(fixture.readAll()).rejects.toMatchObject({ code: "oplog_hole" });
    });
  }

  test("the batch at the reader's own position is missing", async () => {
    await fixture.postgres.pool.query("DELETE FROM emcache.batch WHERE first_position = 9");
    await expect(page(10, 100)).rejects.toMatchObject({ code: "oplog_hole" });
  });
});

test("where a cache can begin: the newest complete copy, else the running one", async () => {
  const log = await fixture.log("main");
  expect(await fixture.reader.latestSyncStart(1)).toBeNull();
  await log.append(batchOf([upsert("x", 2), bracket("sync_start", 1), upsert("a")]), testSignal());
  expect(await fixture.reader.latestSyncStart(1)).toEqual({ position: 2, complete: false });
  await log.append(batchOf([upsert("b"), bracket("sync_end", 1)]), testSignal());
  expect(await fixture.reader.latestSyncStart(1)).toEqual({ position: 2, complete: true });
  await log.append(batchOf([bracket("sync_start", 1)]), testSignal());
  expect(await fixture.reader.latestSyncStart(1)).toEqual({ position: 2, complete: true });
  await log.append(batchOf([bracket("sync_end", 1), bracket("sync_start", 1), bracket("sync_end", 1)]), testSignal());
  expect(await fixture.reader.latestSyncStart(1)).toEqual({ position: 8, complete: true });
});
