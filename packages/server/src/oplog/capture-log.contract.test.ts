import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import type { CaptureLog } from "../source/capture-log.ts";
import { batchOf, bracket, checkpointAt, testSignal, upsert } from "./testing/log-fixture.ts";
import { type LogUnderTest, type MessageFault, memoryLog, postgresLog } from "./testing/log-under-test.ts";

let server: TestPostgres;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());

/** What is promised of the log, of the real one and of its twin in memory: the simulator's runs rest on that. */
describe.each([
  ["PostgreSQL", () => postgresLog(server), 12],
  ["memory", memoryLog, 200],
] as const)("the log in %s", (_name, start, runs) => {
  let log: LogUnderTest;
  beforeEach(async () => {
    log = await start();
  });
  afterEach(() => log.stop());

  async function loaded(source: string): Promise<CaptureLog> {
    const capture = await log.takeLog(source);
    await capture.load(testSignal());
    return capture;
  }

  async function docIds(): Promise<string[]> {
    const ids: string[] = [];
    for (let after = 0; ;) {
      const page = await log.page({ after, limit: 3 });
      for (const row of page.rows) {
        expect(row.position).toBe(ids.length + 1);
        ids.push(row.docId);
      }
      after = page.position;
      if (!page.full) return ids;
    }
  }

  const append = (capture: CaptureLog, ids: readonly string[], rest: Parameters<typeof batchOf>[1] = {}) =>
    capture.append(
      batchOf(
        ids.map((id) => upsert(id)),
        rest,
      ),
      testSignal(),
    );

  test("positions follow one another in the order of commits, over two writers that append at once", async () => {
    const writers = [await loaded("a"), await loaded("b")];
    const sent = await Promise.all(
      writers.map(async (writer) => {
        const ids: string[] = [];
        for (let round = 0; round < 10; round++) {
          const own = Array.from({ length: 1 + (round % 3) }, (_, index) => `${writer.sourceName}${round}.${index}`);
          const { firstPosition, rowCount } = await append(writer, own);
          expect(rowCount).toBe(own.length);
          expect(firstPosition).toBeGreaterThan(0);
          ids.push(...own);
        }
        return ids;
      }),
    );
    const read = await docIds();
    for (const [index, ids] of sent.entries()) {
      expect(read.filter((id) => id.startsWith(["a", "b"][index] ?? ""))).toEqual(ids);
    }
    expect(read.length).toBe(sent.flat().length);
  });

  test("invariant 1: rows and checkpoint are there together, or neither is", async () => {
    const capture = await loaded("a");
    await append(capture, ["1"], { checkpoint: checkpointAt("first") });
    log.breakNext("lost", "lost", "lost");
    await expect(append(capture, ["2"], { checkpoint: checkpointAt("second") })).rejects.toMatchObject({
      code: "postgres_unavailable",
    });
    expect([await docIds(), await log.token("a")]).toEqual([["1"], "first"]);
    // Given up for good: the next process loads, and no position is missing.
    const next = await loaded("a");
    await append(next, ["3"], { checkpoint: checkpointAt("third") });
    expect([await docIds(), await log.token("a")]).toEqual([["1", "3"], "third"]);
  });

  test.each([
    [["lost"]],
    [["answer_lost"]],
    [["held"]],
    [["answer_lost", "answer_lost"]],
    [["held", "answer_lost"]],
    [["lost", "held"]],
  ] as const)("an append happens once, whatever its messages meet: %s", async (faults) => {
    const capture = await loaded("a");
    await append(capture, ["1"]);
    log.breakNext(...faults);
    expect(await append(capture, ["2", "3"], { checkpoint: checkpointAt("here") })).toEqual({
      firstPosition: 2,
      rowCount: 2,
    });
    await log.deliverHeld();
    await append(capture, ["4"]);
    expect(await docIds()).toEqual(["1", "2", "3", "4"]);
    expect(await log.token("a")).toBe("here");
  });

  test("what is unknown is repeated as it is, and nothing else before it", async () => {
    const capture = await loaded("a");
    log.breakNext("lost", "answer_lost", "lost");
    const batch = batchOf([upsert("1")]);
    await expect(capture.append(batch, testSignal())).rejects.toMatchObject({ code: "postgres_unavailable" });
    await expect(append(capture, ["other"])).rejects.toMatchObject({ code: "internal" });
    expect(await capture.append(batch, testSignal())).toEqual({ firstPosition: 1, rowCount: 1 });
    expect(await docIds()).toEqual(["1"]);
  });

  test("an append that was given up and arrives late changes nothing, once the log was loaded again", async () => {
    const capture = await loaded("a");
    log.breakNext("held", "held", "held");
    await expect(append(capture, ["late"])).rejects.toMatchObject({ code: "postgres_unavailable" });
    await capture.load(testSignal());
    await log.deliverHeld();
    await append(capture, ["1"]);
    expect(await docIds()).toEqual(["1"]);
  });

  test("invariant 3: one writer; of an epoch that was taken over nothing is appended, and no position is lost", async () => {
    const old = await loaded("a");
    await append(old, ["1"], { checkpoint: checkpointAt("old") });
    log.breakNext("held", "held", "held");
    const held = batchOf([upsert("held")], { checkpoint: checkpointAt("held") });
    await expect(old.append(held, testSignal())).rejects.toMatchObject({ code: "postgres_unavailable" });
    const taker = await log.takeLog("a");
    expect(taker.epoch).toBeGreaterThan(old.epoch);
    await log.deliverHeld();
    await expect(old.append(held, testSignal())).rejects.toMatchObject({ code: "lease_lost" });
    await expect(old.load(testSignal())).rejects.toMatchObject({ code: "lease_lost" });
    expect((await taker.load(testSignal())).checkpoint?.resumeToken).toEqual(Buffer.from("old"));
    await append(taker, ["3"]);
    expect(await docIds()).toEqual(["1", "3"]);
  });

  test("what is loaded is what the last append made durable", async () => {
    const capture = await log.takeLog("a");
    expect(await capture.load(testSignal())).toEqual({ checkpoint: null, copies: [] });
    const copy = {
      copyId: "c",
      version: 3,
      state: "running",
      lastId: Buffer.from([5]),
      rowCount: 1,
      rowCountEstimate: 2,
    } as const;
    const checkpoint = {
      resumeToken: Buffer.from([0, 255]),
      clusterTime: 2n ** 63n + 9n,
      lookupHorizon: 2n ** 64n - 1n,
    };
    await append(capture, ["1"], { checkpoint, copies: [copy, { ...copy, version: 2 }] });
    await append(capture, [], { copies: [{ ...copy, state: "done" }] });
    expect(await capture.load(testSignal())).toEqual({
      checkpoint,
      copies: [
        { ...copy, version: 2 },
        { ...copy, state: "done" },
      ],
    });
    // Without rows there is no position.
    expect(await append(capture, [], { checkpoint: checkpointAt("later") })).toEqual({ firstPosition: 0, rowCount: 0 });
    expect([(await log.head()).head, await log.token("a")]).toEqual([1, "later"]);
  });

  test("pages form a chain by tags, whole and filtered; a batch that is missing is an error", async () => {
    const writers = [await loaded("a"), await loaded("b")] as const;
    await append(writers[0], ["1", "2"]);
    await writers[1].append(batchOf([upsert("3", 2), upsert("4")]), testSignal());
    await append(writers[0], ["5"]);
    const first = await log.page({ after: 0, limit: 3 });
    const second = await log.page({ after: first.position, limit: 3 });
    expect([first.tagAtFrom, first.position, first.full]).toEqual(["", 3, true]);
    expect([second.tagAtFrom, second.position, second.full]).toEqual([first.tag, 5, false]);
    expect(second.rows.map(({ docId }) => docId)).toEqual(["4", "5"]);
    expect(first.batches.map(({ first: at, count }) => [at, count])).toEqual([
      [1, 2],
      [3, 1],
    ]);
    const filtered = await log.page({ after: 1, limit: 10, versions: [2] });
    expect(filtered.rows.map(({ position }) => position)).toEqual([3]);
    expect([filtered.position, filtered.tag, filtered.full]).toEqual([5, second.tag, false]);
    expect((await log.page({ after: 9, limit: 1 })).tagAtFrom).toBeNull();
    expect(await log.batchAt(4)).toMatchObject({ firstPosition: 3, rowCount: 2, source: "b", tag: first.tag });
    expect(await log.batchAt(6)).toBeNull();
    await log.lose(3);
    for (const request of [
      { after: 0, limit: 10 },
      { after: 2, limit: 10 },
      { after: 3, limit: 10 },
      { after: 0, limit: 10, versions: [1] },
    ]) {
      await expect(log.page(request)).rejects.toMatchObject({ code: "oplog_hole" });
    }
  });

  test("a page ends where its bytes are full; a row that is larger alone comes alone", async () => {
    const capture = await loaded("a");
    await append(capture, ["x".repeat(500), "b", "c"]);
    const first = await log.page({ after: 0, limit: 10, bytesMax: 100 });
    expect([first.rows.length, first.full]).toEqual([1, true]);
    const second = await log.page({ after: 1, limit: 10, bytesMax: 100 });
    expect([second.rows.length, second.position, second.full]).toEqual([2, 3, true]);
  });

  test("below the floor nobody reads; at the floor the history is still known by its tag", async () => {
    const capture = await loaded("a");
    await append(capture, ["1", "2"]);
    await append(capture, ["3"]);
    await append(capture, ["4"]);
    const { tag } = await log.page({ after: 0, limit: 2 });
    // The batch of 1 and 2 ends below 3.
    await log.dropBelow(3);
    expect(await log.head()).toMatchObject({ head: 4, floor: 3 });
    await expect(log.page({ after: 1, limit: 1 })).rejects.toMatchObject({
      code: "position_too_old",
      details: { floor: 3 },
    });
    const page = await log.page({ after: 2, limit: 10 });
    expect([page.tagAtFrom, page.rows.map(({ docId }) => docId)]).toEqual([tag, ["3", "4"]]);
    await log.dropBelow(5);
    expect(await log.head()).toMatchObject({ head: 4, floor: 5 });
    expect(await log.page({ after: 4, limit: 10 })).toMatchObject({ rows: [], position: 4 });
    await append(capture, ["5"]);
    expect((await log.page({ after: 4, limit: 10 })).rows.map(({ docId }) => docId)).toEqual(["5"]);
  });

  test("a cache begins at the newest copy that came to its end, else at the one that runs, if the log holds it", async () => {
    const capture = await loaded("a");
    const rows = (...given: ReturnType<typeof upsert>[]) => capture.append(batchOf(given), testSignal());
    expect(await log.latestSyncStart(1)).toBeNull();
    await rows(upsert("1"), bracket("sync_start", 1));
    expect(await log.latestSyncStart(1)).toEqual({ position: 2, complete: false });
    await rows(bracket("sync_end", 1));
    await rows(bracket("sync_start", 1));
    expect(await log.latestSyncStart(1)).toEqual({ position: 2, complete: true });
    await log.dropBelow(4);
    expect(await log.latestSyncStart(1)).toEqual({ position: 4, complete: false });
    await rows(bracket("sync_end", 1));
    expect(await log.latestSyncStart(1)).toEqual({ position: 4, complete: true });
    await rows(bracket("sync_start", 2), bracket("sync_end", 2));
    expect(await log.latestSyncStart(2)).toEqual({ position: 6, complete: true });
  });

  test("any sequence of appends, broken messages and take-overs: each append that resolved is there once, in order", async () => {
    const fault = fc.constantFrom<MessageFault>("lost", "answer_lost", "held");
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("append" as const), rowCount: fc.nat(3) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("break" as const), fault }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constantFrom("take" as const, "deliver" as const, "load" as const) }),
      },
    );
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const source = `run${(run += 1)}`;
        const from = (await log.head()).head;
        let capture = await loaded(source);
        const resolved: string[] = [];
        const possible = new Set<string>();
        let failed: (() => Promise<unknown>) | null = null;
        for (const [index, given] of steps.entries()) {
          if (given.kind === "break") log.breakNext(given.fault);
          else if (given.kind === "deliver") await log.deliverHeld();
          else if (given.kind === "append") {
            const ids = Array.from({ length: given.rowCount }, (_, number) => `${index}.${number}`);
            const batch = batchOf(
              ids.map((id) => upsert(id)),
              { checkpoint: checkpointAt(String(index)) },
            );
            const act: () => Promise<unknown> = failed ?? (() => capture.append(batch, testSignal()));
            for (const id of failed === null ? ids : []) possible.add(id);
            failed = await act().then(
              () => null,
              () => act,
            );
            if (failed === null) resolved.push(...[...possible].filter((id) => !resolved.includes(id)));
          } else {
            if (given.kind === "take") capture = await log.takeLog(source);
            await capture.load(testSignal());
            failed = null;
            // What was given up may be in the log or not, and that is settled now.
            const there = new Set((await log.page({ after: from, limit: 10_000 })).rows.map(({ docId }) => docId));
            for (const id of possible) if (!there.has(id)) possible.delete(id);
            resolved.splice(0, Infinity, ...possible);
          }
        }
        log.breakNext();
        await log.deliverHeld();
        const read = (await log.page({ after: from, limit: 10_000 })).rows.map(({ docId }) => docId);
        expect(read.slice(0, resolved.length)).toEqual(resolved);
        expect(new Set(read).size).toBe(read.length);
        if (failed === null) expect(read).toEqual(resolved);
      }),
      { numRuns: runs },
    );
  }, 120_000);
});
