import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { COPY_ROWS, copyChunks, sealStatement } from "./append-message.ts";
import { SourceLease } from "./source-lease.ts";
import {
  type LogFixture,
  batchOf,
  checkpointAt,
  startLogFixture,
  testLogger,
  testSignal,
  until,
  upsert,
} from "./testing/log-fixture.ts";

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

test("a released lease is taken at once, and the checkpoint goes with it", async () => {
  const first = await fixture.lease("main", { takeoverMs: 30_000 });
  const log = first.log();
  await log.load(testSignal());
  await log.append(batchOf([upsert("a")], { checkpoint: checkpointAt("t") }), testSignal());
  await first.release();
  const startedAtMs = performance.now();
  const second = await fixture.lease("main", { takeoverMs: 30_000, postgres: await fixture.connect() });
  expect(performance.now() - startedAtMs).toBeLessThan(5_000);
  expect(second.epoch).toBe(first.epoch + 1);
  expect((await second.log().load(testSignal())).checkpoint?.resumeToken).toEqual(Buffer.from("t"));
});

test("a lease that is renewed is not taken over", async () => {
  const first = await fixture.lease("main", { takeoverMs: 400 });
  const other = await fixture.connect();
  const nothing = (): void => undefined;
  await expect(
    SourceLease.acquire(
      {
        postgres: other,
        sourceName: "main",
        logger: testLogger,
        takeoverMs: 400,
        onCommit: nothing,
        onRegistryChange: nothing,
      },
      AbortSignal.timeout(2_500),
    ),
  ).rejects.toThrow("timeout");
  expect(first.lost.aborted).toBe(false);
});

describe("fencing", () => {
  test("a holder whose lease was taken over appends nothing more, and learns of it", async () => {
    const first = await fixture.lease("main");
    const log = first.log();
    await log.load(testSignal());
    await log.append(batchOf([upsert("before")]), testSignal());
    // As a standby does after the holder's silence.
    await fixture.postgres.pool.query("UPDATE emcache.source_lease SET epoch = epoch + 1");
    for (const rows of [[upsert("late")], Array.from({ length: 3_000 }, (_, index) => upsert(`late ${index}`)), []]) {
      await expect(log.append(batchOf(rows, { checkpoint: checkpointAt("late") }), testSignal())).rejects.toMatchObject(
        { code: "lease_lost" },
      );
    }
    expect(first.lost.aborted).toBe(true);
    await expect(first.log().load(testSignal())).rejects.toMatchObject({ code: "lease_lost" });
    expect((await fixture.readAll()).map(({ docId }) => docId)).toEqual(["before"]);
  });

  test("an append that is frozen in mid-COPY stops nobody, and is refused when it goes on", async () => {
    const first = await fixture.lease("main");
    await first.log().load(testSignal());
    const frozen = new pg.Client({ connectionString: fixture.uri });
    frozen.on("error", () => undefined);
    await frozen.connect();
    await frozen.query("BEGIN");
    const { rows } = await frozen.query<{ id: string }>("SELECT nextval('emcache.batch_id') AS id");
    const id = rows[0]?.id ?? "";
    const copy = frozen.query(copyFrom(COPY_ROWS));
    const batch = batchOf([upsert("frozen")]);
    for (const chunk of copyChunks(id, batch.rows)) copy.write(chunk);
    // Another source goes on.
    const other = await fixture.log("other");
    await other.append(
      batchOf(Array.from({ length: 1_000 }, (_, index) => upsert(`other ${index}`))),
      AbortSignal.timeout(3_000),
    );
    // The source is taken over, and goes on.
    await fixture.postgres.pool.query("UPDATE emcache.source_lease SET released = true WHERE source = 'main'");
    const second = await fixture.lease("main", { postgres: await fixture.connect() });
    const log = second.log();
    await log.load(testSignal());
    await log.append(batchOf([upsert("new")]), AbortSignal.timeout(3_000));
    // The frozen one wakes up.
    copy.end();
    await once(copy, "finish");
    const identity = { source: "main", epoch: first.epoch, number: 2, tag: "frozen" };
    await expect(frozen.query(`${sealStatement(id, identity, batch)}; COMMIT`)).rejects.toMatchObject({
      code: "EM001",
    });
    await frozen.end();
    const read = (await fixture.readAll()).map(({ docId }) => docId);
    expect(read).not.toContain("frozen");
    expect(read.at(-1)).toBe("new");
  });

  test("invariant 3: one writer; a process that is frozen (SIGSTOP) while it appends is taken over within seconds and can append no row more", async () => {
    const script = fileURLToPath(new URL("./testing/appending-process.ts", import.meta.url));
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, [script, fixture.uri, "500"], { stdio: ["ignore", "pipe", "inherit"] });
      const lines: string[] = [];
      createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
      await until(() => lines.includes("appending"));
      const headBefore = (await fixture.reader.head()).head;
      await until(async () => (await fixture.reader.head()).head > headBefore);
      child.kill("SIGSTOP");
      const startedAtMs = performance.now();
      const lease = await fixture.lease("main", { postgres: await fixture.connect() });
      expect(performance.now() - startedAtMs).toBeLessThan(6_000);
      const log = lease.log();
      await log.load(testSignal());
      const { firstPosition } = await log.append(batchOf([upsert(`new ${round}`)]), AbortSignal.timeout(3_000));
      child.kill("SIGCONT");
      await until(() => lines.some((line) => line.startsWith("ended")));
      expect(lines.at(-1)).toBe("ended lease_lost");
      if (child.exitCode === null) await once(child, "exit");
      const { head } = await fixture.reader.head();
      expect(head).toBe(firstPosition);
      await lease.release();
    }
  }, 60_000);

  test("a taker that is blocked by a frozen transaction ends it", async () => {
    const first = await fixture.lease("main");
    const frozen = new pg.Client({ connectionString: fixture.uri, application_name: "frozen elsewhere" });
    frozen.on("error", () => undefined);
    const ended = new Promise<void>((resolve) => {
      frozen.once("end", () => {
        resolve();
      });
    });
    await frozen.connect();
    await frozen.query("BEGIN");
    await frozen.query("SELECT 1 FROM emcache.source_lease WHERE source = 'main' FOR SHARE");
    const second = await fixture.lease("main", { postgres: await fixture.connect() });
    expect(second.epoch).toBe(first.epoch + 1);
    await ended;
  }, 20_000);
});
