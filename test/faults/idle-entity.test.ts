import { Int32 } from "mongodb";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { reportFault } from "../support/fault-report.ts";
import { faultRepeats } from "../support/fault-repeats.ts";
import { FAULT_SOURCES, startFaultSystem } from "../support/fault-system.ts";
import type { TestSystem } from "../support/test-system.ts";
import { useTestFolder } from "../support/use-test-folder.ts";
import { Workload, workloadEntity } from "../support/workload.ts";

const DEADLINE_MS = 60_000;
const TEST_TIMEOUT_MS = 1_800_000;

/** How old the place to go on from may become while nothing happens to any entity. */
const TOKEN_AGE_MS_MAX = 30_000;

/** From the moment that the program runs again. */
const RESUME_MS_MAX = 10_000;

const folder = useTestFolder("idle");

describe.each(FAULT_SOURCES)("on %s", (source) => {
  let system: TestSystem;

  beforeAll(async () => {
    system = await startFaultSystem(source, { folder });
  });

  afterAll(async () => {
    await system.dispose();
  });

  test(
    "fault 10: an entity that is idle beside many writes elsewhere keeps a fresh token, and goes on at once",
    async () => {
      const writes = faultRepeats({ short: 10_000, full: 500_000 });
      const entity = workloadEntity("idle", "idle");
      await new Workload(system.collection("idle"), { seed: 10 }).write("insert", 100);
      await system.create(entity);
      await system.expectEqual(entity);
      const elsewhere = new Workload(system.collection("elsewhere"), { seed: 11, bulkSize: 1_000 });
      const writing = elsewhere.write("insert", writes);
      const ages = await watchToken(writing);
      await writing;
      console.log(`idle beside ${writes} writes: the token was at most ${Math.round(Math.max(...ages))} ms old`);
      expect(Math.max(...ages)).toBeLessThan(TOKEN_AGE_MS_MAX);
      await system.emcache.kill();
      await elsewhere.write("insert", 1_000);
      await system.collection("idle").insertOne({ _id: "while-away" as never, seq: new Int32(1) });
      await system.emcache.restart();
      const begin = performance.now();
      await system.waitForRow("idle", "while-away", DEADLINE_MS);
      const resumeMs = performance.now() - begin;
      console.log(`idle beside ${writes} writes: goes on ${Math.round(resumeMs)} ms after the start`);
      expect(resumeMs).toBeLessThan(RESUME_MS_MAX);
      expect(system.emcache.logs()).not.toContain(`"event":"history_lost"`);
      await system.expectEqual(entity);
      reportFault({ fault: 10, title: "idle beside writes", source, injected: writes, lost: 0, skipped: null });
    },
    TEST_TIMEOUT_MS,
  );

  /** How long each stored token was the newest, until the writes and one change more are over. */
  async function watchToken(writing: Promise<unknown>): Promise<number[]> {
    const state = { isWriting: true };
    void writing.finally(() => (state.isWriting = false));
    const ages: number[] = [];
    let last = "";
    let since = performance.now();
    let changesLeft = 2;
    const client = new pg.Client({ connectionString: system.emcache.postgresUri() });
    await client.connect();
    try {
      await eventually(
        async () => {
          const { rows } = await client.query<{ token: string }>(
            "SELECT encode(resume_token, 'hex') AS token FROM emcache.source_checkpoint",
          );
          const token = rows[0]?.token ?? "";
          if (token !== last) {
            ages.push(performance.now() - since);
            last = token;
            since = performance.now();
            if (!state.isWriting) changesLeft -= 1;
          }
          return changesLeft === 0;
        },
        TEST_TIMEOUT_MS,
        "the token goes on",
      );
    } finally {
      await client.end();
    }
    return ages;
  }
});
