import type { EmcacheError } from "@emcache/protocol";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { PostgresCaptureLog } from "./postgres-capture-log.ts";
import {
  type LogFixture,
  batchOf,
  checkpointAt,
  startLogFixture,
  storedToken,
  testSignal,
  until,
  upsert,
} from "./testing/log-fixture.ts";
import { type TcpProxy, startTcpProxy } from "./testing/tcp-proxy.ts";

let server: TestPostgres;
let fixture: LogFixture;
let proxy: TcpProxy;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  proxy = await startTcpProxy(fixture.uri);
});
afterEach(async () => {
  await fixture.stop();
  await proxy.stop();
});

/** A log whose appends go through the proxy; the lease does not. */
async function logThroughProxy(): Promise<PostgresCaptureLog> {
  const lease = await fixture.lease("main");
  const { pool } = await fixture.connect(proxy.uri);
  const nothing = (): void => undefined;
  const log = new PostgresCaptureLog({
    pool,
    sourceName: "main",
    epoch: lease.epoch,
    onCommit: nothing,
    onRegistryChange: nothing,
    onLeaseLost: nothing,
  });
  await log.load(testSignal());
  return log;
}

const small = Array.from({ length: 10 }, (_, index) => upsert(`small${index}`));
const large = Array.from({ length: 5_000 }, (_, index) => upsert(`large${index} ${"x".repeat(200)}`));

test("any document id is read back as it was", async () => {
  const log = await fixture.log("main");
  const ids = [
    "",
    "plain",
    "nul\0inside",
    "\ud800 lone",
    "\u0001 mark",
    "tab\tline\nreturn\rback\\slash",
    'it\'s "quoted"',
    "😀",
    "\\N",
  ];
  await log.append(batchOf(ids.map((id) => upsert(id))), testSignal());
  // The same through COPY.
  await log.append(batchOf([...ids, ...large.map(({ docId }) => docId)].map((id) => upsert(id))), testSignal());
  const rows = await fixture.readAll();
  const read = rows.map(({ docId }) => docId);
  expect(read.slice(0, ids.length)).toEqual(ids);
  expect(read.slice(ids.length, 2 * ids.length)).toEqual(ids);
  expect(rows.every(({ docId, data }) => data === JSON.stringify([docId]))).toBe(true);
});

// The connection breaks at each piece that an append sends, one after the other.
test.each([
  ["one message", small],
  ["COPY", large],
] as const)(
  "invariant 1: log before checkpoint; the connection breaks anywhere in an append by %s",
  async (_name, rows) => {
    const log = await logThroughProxy();
    const open = new AbortController();
    for (let cutAt = 1; ; cutAt++) {
      const before = (await fixture.reader.head()).head;
      const tokenBefore = await storedToken(fixture, "main");
      const token = `at ${cutAt}`;
      let seen = 0;
      proxy.decide = () => {
        seen += 1;
        return seen >= cutAt ? "cut" : "forward";
      };
      const batch = batchOf(rows, { checkpoint: checkpointAt(token) });
      const failed = await log.append(batch, open.signal).then(
        () => null,
        (error: unknown) => error,
      );
      const { head } = await fixture.reader.head();
      expect(await storedToken(fixture, "main")).toBe(head === before ? tokenBefore : token);
      expect([before, before + rows.length]).toContain(head);
      proxy.decide = () => "forward";
      if (failed === null) break;
      expect((failed as EmcacheError).code).toBe("postgres_unavailable");
      // Repeated as it is.
      await log.append(batch, open.signal);
      expect((await fixture.reader.head()).head).toBe(before + rows.length);
      expect(await storedToken(fixture, "main")).toBe(token);
      if (cutAt > 12) break;
    }
  },
  60_000,
);

describe("a commit whose outcome is unknown", () => {
  for (const [name, rows] of [
    ["one message", small],
    ["COPY", large],
  ] as const) {
    for (const action of ["cut", "forward_and_cut", "hold"] as const) {
      test(`${name}, ${action}: the append happened exactly once`, async () => {
        const log = await logThroughProxy();
        let hits = 0;
        proxy.decide = (piece) => {
          if (!piece.includes("; COMMIT")) return "forward";
          hits += 1;
          return hits === 1 ? action : "forward";
        };
        const appended = await log.append(batchOf(rows, { checkpoint: checkpointAt("a") }), testSignal());
        expect(hits).toBeGreaterThanOrEqual(1);
        expect(appended).toEqual({ firstPosition: 1, rowCount: rows.length });
        // What was on its way arrives now, and is refused.
        proxy.deliverHeld();
        await log.append(batchOf([upsert("next")]), testSignal());
        await until(async () => {
          const { rows: active } = await fixture.postgres.pool.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()",
          );
          return active.length === 0;
        });
        const read = await fixture.readAll();
        expect(read.map(({ docId }) => docId)).toEqual([...rows.map(({ docId }) => docId), "next"]);
      }, 30_000);
    }
  }
});

test("an append that was given up is refused to be forgotten, and load makes a clean start", async () => {
  const log = await logThroughProxy();
  proxy.decide = (piece) => (piece.includes("; COMMIT") ? "hold" : "forward");
  await expect(log.append(batchOf(small), testSignal())).rejects.toMatchObject({ code: "postgres_unavailable" });
  proxy.decide = () => "forward";
  await expect(log.append(batchOf(small), testSignal())).rejects.toMatchObject({ code: "internal" });
  await log.load(testSignal());
  // Three times held back, by now too late.
  proxy.deliverHeld();
  await log.append(batchOf([upsert("only")]), testSignal());
  expect((await fixture.readAll()).map(({ docId }) => docId)).toEqual(["only"]);
});

test("invariant 2: commit-order positions; a reader that follows several writers sees every position once, in order", async () => {
  const writers = await Promise.all(["a", "b", "c", "d"].map((source) => fixture.log(source)));
  const sent = new Map<string, string[]>();
  let writing = true;
  const write = async (log: (typeof writers)[number]): Promise<void> => {
    const ids: string[] = [];
    sent.set(log.sourceName, ids);
    for (let round = 0; round < 40; round++) {
      const size = round % 10 === 9 ? 2_000 : 1 + ((round * 7) % 60);
      const rows = Array.from({ length: size }, (_, index) => upsert(`${log.sourceName} ${round} ${index}`));
      const { firstPosition } = await log.append(batchOf(rows), testSignal());
      expect(firstPosition).toBeGreaterThan(0);
      ids.push(...rows.map(({ docId }) => docId));
    }
  };
  const seen: string[] = [];
  const read = async (): Promise<void> => {
    for (let after = 0; ;) {
      const isLast = !writing;
      const page = await fixture.reader.page({ after, limit: 500, signal: testSignal() });
      for (const row of page.rows) {
        expect(row.position).toBe(seen.length + 1);
        seen.push(row.docId);
      }
      after = page.position;
      if (isLast && !page.full) return;
    }
  };
  const reading = read();
  await Promise.all(writers.map(write));
  writing = false;
  await reading;
  for (const log of writers) {
    expect(seen.filter((docId) => docId.startsWith(`${log.sourceName} `))).toEqual(sent.get(log.sourceName));
  }
  expect(seen.length).toBe([...sent.values()].flat().length);
}, 60_000);

test("what a process loads is what the last append made durable", async () => {
  const log = await fixture.log("main");
  expect(await log.load(testSignal())).toEqual({ checkpoint: null, copies: [] });
  const copy = {
    copyId: "c1",
    version: 3,
    state: "running" as const,
    lastId: Buffer.from([5, 0]),
    rowCount: 10,
    rowCountEstimate: 20,
  };
  const checkpoint = {
    resumeToken: Buffer.from([0, 255, 1]),
    clusterTime: 2n ** 63n + 9n,
    lookupHorizon: 2n ** 64n - 1n,
  };
  await log.append(batchOf([upsert("a")], { checkpoint, copies: [copy] }), testSignal());
  await log.append(batchOf([], { copies: [{ ...copy, lastId: null, state: "done" }] }), testSignal());
  const loaded = await log.load(testSignal());
  expect(loaded).toEqual({ checkpoint, copies: [{ ...copy, lastId: null, state: "done" }] });
  expect((await fixture.reader.batchAt(1))?.clusterTime).toBe(2n ** 63n + 9n);
});

test("invariant 11: one history: a log that was set back under its writer refuses it until the writer has loaded what is there", async () => {
  const log = await fixture.log("main");
  await log.append(batchOf([upsert("kept")], { checkpoint: checkpointAt("kept") }), testSignal());
  const { rows } = await fixture.postgres.pool.query("SELECT * FROM emcache.source_checkpoint WHERE source = 'main'");
  const [kept] = rows as { append_number: string; append_tag: string; resume_token: Buffer }[];
  await log.append(batchOf([upsert("lost")], { checkpoint: checkpointAt("lost") }), testSignal());
  // As a restored backup has it.
  await fixture.postgres.pool.query(
    "UPDATE emcache.source_checkpoint SET append_number = $1, append_tag = $2, resume_token = $3 WHERE source = 'main'",
    [kept?.append_number, kept?.append_tag, kept?.resume_token],
  );
  const next = batchOf([upsert("next")], { checkpoint: checkpointAt("next") });
  const refused = await log.append(next, testSignal()).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "history_mismatch", retryable: false });
  expect((await log.load(testSignal())).checkpoint?.resumeToken).toEqual(Buffer.from("kept"));
  await log.append(next, testSignal());
});
