import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import type { CaptureLog } from "../source/capture-log.ts";
import type { CommittedBatch } from "./committed-batch.ts";
import type { LogRead } from "./log-read.ts";
import type { OplogPage } from "./oplog-page.ts";
import type { PageRequest } from "./oplog-reader.ts";
import { type FollowQuery, PageHub } from "./page-hub.ts";
import type { ReadableLog } from "./read-log.ts";
import { SourceLease } from "./source-lease.ts";
import {
  type LogFixture,
  batchOf,
  startLogFixture,
  testLogger,
  testSignal,
  until,
  upsert,
} from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
let lease: SourceLease;
let log: CaptureLog;
/** The process that captures, which hands its batches over; and one that only reads. */
let handed: PageHub;
let apart: PageHub;
let reads: { handed: number; apart: number };
let isHanding = true;

beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());

beforeEach(async () => {
  fixture = await startLogFixture(server);
  reads = { handed: 0, apart: 0 };
  isHanding = true;
  handed = hubOver(counted("handed"));
  apart = hubOver(counted("apart"));
  const onCommit = (head: number, batch: CommittedBatch | null): void => {
    if (batch !== null && isHanding) handed.hand(batch);
    handed.wake(head);
    apart.wake(head);
  };
  const { postgres } = fixture;
  const options = { postgres, sourceName: "main", logger: testLogger, onCommit, onRegistryChange: () => undefined };
  lease = await SourceLease.acquire(options, testSignal());
  log = lease.log();
  await log.load(testSignal());
  await Promise.all([handed.start(), apart.start()]);
});

afterEach(async () => {
  await Promise.all([handed.stop(), apart.stop()]);
  await lease.release();
  await fixture.stop();
});

function hubOver(readable: ReadableLog, options: { bytesMax?: number; waitersMax?: number } = {}): PageHub {
  return new PageHub({
    log: readable,
    bytesMax: 1_000_000,
    waitersMax: 1_000,
    intervalMs: 60_000,
    logger: testLogger,
    ...options,
  });
}

/** The log, with each page that is read counted: one statement each. */
function counted(which: "handed" | "apart"): ReadableLog {
  return {
    head: () => fixture.reader.head(),
    page(request: PageRequest): Promise<OplogPage> {
      reads[which] += 1;
      return fixture.reader.page(request);
    },
  };
}

function ask(after: number, more: Partial<FollowQuery> = {}): FollowQuery {
  return { after, versions: [1], limit: 1_000, waitMs: 30_000, logId: null, tag: null, signal: testSignal(), ...more };
}

test("a hundred who wait for each of 20 batches cost one read of each where it must be read, none where it is handed", async () => {
  await log.append(batchOf([upsert("first", 1)]), testSignal());
  const start = await handed.follow(ask(0));
  expect(await apart.follow(ask(0))).toMatchObject({ position: 1, tag: start.tag });
  reads = { handed: 0, apart: 0 };
  let position = 1;
  for (let count = 0; count < 20; count++) {
    const waiting = [handed, apart].flatMap((hub) => Array.from({ length: 100 }, () => hub.follow(ask(position))));
    await until(() => handed.waiterCount === 100 && apart.waiterCount === 100);
    await log.append(batchOf([upsert(`a${count}`, 1), upsert(`b${count}`, 2)]), testSignal());
    const answers = await Promise.all(waiting);
    position += 2;
    expect(new Set(answers.map((read) => read.position))).toEqual(new Set([position]));
    // The same object: what is made from it is made once.
    expect(new Set(answers).size).toBe(2);
  }
  // The first wait of a hub looks once whether it missed something.
  expect(reads.handed).toBeLessThanOrEqual(1);
  expect(reads.apart).toBeGreaterThanOrEqual(20);
  expect(reads.apart).toBeLessThanOrEqual(21);
});

test("what is taken from memory is, to the letter, what is read from the log", async () => {
  await handed.follow(ask(0, { waitMs: 0 }));
  const transaction = "lsid\0 1";
  const rows = [
    { ...upsert("a\0\ud83d\ude00", 1), data: '[12345678901234567890,"\\u0000",1.10]' },
    { ...upsert("b", 1), transaction, transactionEnd: false },
    { ...upsert("c", 1), operation: "delete" as const, data: null, transaction, transactionEnd: true, idType: 7 },
    upsert("other", 2),
  ];
  const waiting = [handed, apart].map((hub) => hub.follow(ask(0)));
  await until(() => handed.waiterCount === 1 && apart.waiterCount === 1);
  await log.append(batchOf(rows), testSignal());
  const [memory, read] = (await Promise.all(waiting)) as [LogRead, LogRead];
  expect(memory).toEqual(read);
  expect(memory.rows.map(({ docId }) => docId)).toEqual(["a\0\ud83d\ude00", "b", "c"]);
  expect(handed.counts.batchesTaken).toBe(1);
  const page = await fixture.reader.page({ after: 0, limit: 10, versions: [1], signal: testSignal() });
  expect(memory.rows).toEqual(page.rows);
});

test("batches that are handed over in the wrong order, or not at all, leave no gap", async () => {
  await handed.follow(ask(0, { waitMs: 0 }));
  isHanding = false;
  const waiting = handed.follow(ask(0, { limit: 1 }));
  await until(() => handed.waiterCount === 1);
  const batches: CommittedBatch[] = [];
  const hand = handed.hand.bind(handed);
  handed.hand = (batch) => void batches.push(batch);
  isHanding = true;
  const wake = handed.wake.bind(handed);
  handed.wake = () => undefined;
  for (let index = 1; index <= 4; index++) await log.append(batchOf([upsert(`${index}`, 1)]), testSignal());
  const [first, second, third, fourth] = batches as [CommittedBatch, CommittedBatch, CommittedBatch, CommittedBatch];
  hand(second);
  hand(first);
  expect((await waiting).rows.map(({ docId }) => docId)).toEqual(["1"]);
  hand(fourth);
  wake(4);
  const rest = handed.follow(ask(2));
  expect((await rest).rows.map(({ docId }) => docId)).toEqual(["3", "4"]);
  hand(third);
  expect((await handed.follow(ask(0))).rows.map(({ position }) => position)).toEqual([1, 2, 3, 4]);
});

test("invariant 11: one history: who waits while the log's history is replaced is refused", async () => {
  await log.append(batchOf([upsert("a", 1)]), testSignal());
  const { tag, logId } = await apart.follow(ask(0));
  const waiting = apart.follow(ask(1, { tag, logId }));
  await until(() => apart.waiterCount === 1);
  // What a restored backup looks like: the same position, other content, another tag.
  await fixture.postgres.pool.query("UPDATE emcache.batch SET tag = 'other'; UPDATE emcache.head SET tag = 'other'");
  apart.wake(2);
  await expect(waiting).rejects.toMatchObject({ code: "history_mismatch" });
  await expect(apart.follow(ask(1, { tag, logId, waitMs: 0 }))).rejects.toMatchObject({ code: "history_mismatch" });
  expect(await apart.follow(ask(1, { tag: "other", waitMs: 0 }))).toMatchObject({ position: 1, tag: "other" });
});

test("who is further back than memory reads for itself, shared with those who ask the same", async () => {
  const hub = hubOver(counted("apart"), { bytesMax: 2_000 });
  await hub.start();
  try {
    await hub.follow(ask(0, { waitMs: 0 }));
    for (let index = 1; index <= 50; index++) {
      await log.append(batchOf([{ ...upsert(`${index}`, 1), data: `["${"x".repeat(500)}"]` }]), testSignal());
    }
    reads.apart = 0;
    const answers = await Promise.all(Array.from({ length: 50 }, () => hub.follow(ask(3, { limit: 10 }))));
    expect(answers.every(({ rows }) => rows.length === 10 && rows[0]?.position === 4)).toBe(true);
    // A look at the head, and one read.
    expect(reads.apart).toBeLessThanOrEqual(4);
    const near = await hub.follow(ask(48));
    expect(near.rows.map(({ position }) => position)).toEqual([49, 50]);
  } finally {
    await hub.stop();
  }
});

test("beyond its number nobody waits; who leaves makes room; the hub's stop answers all", async () => {
  const hub = hubOver(counted("apart"), { waitersMax: 2 });
  await hub.start();
  const gone = new AbortController();
  const first = hub.follow(ask(0));
  const second = hub.follow(ask(0, { signal: gone.signal }));
  await until(() => hub.waiterCount === 2);
  await expect(hub.follow(ask(0))).rejects.toMatchObject({ code: "overloaded" });
  gone.abort();
  await expect(second).rejects.toThrow("aborted");
  const third = hub.follow(ask(0));
  await until(() => hub.waiterCount === 2);
  await hub.stop();
  expect(await Promise.all([first, third])).toMatchObject([{ rows: [] }, { rows: [] }]);
});

test("PostgreSQL that goes away is told to those who wait; what memory holds is still given", async () => {
  await handed.follow(ask(0, { waitMs: 0 }));
  await log.append(batchOf([upsert("a", 1)]), testSignal());
  const waiting = handed.follow(ask(1));
  await until(() => handed.waiterCount === 1);
  await fixture.postgres.stop(AbortSignal.timeout(5_000));
  handed.wake(2);
  await expect(waiting).rejects.toMatchObject({ code: "postgres_unavailable" });
  expect((await handed.follow(ask(0))).rows).toHaveLength(1);
});
