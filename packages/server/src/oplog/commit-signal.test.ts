import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import { CommitSignal } from "./commit-signal.ts";
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
let here: CommitSignal;
let there: CommitSignal;
let heads: number[];
let registryChanges: number;
beforeAll(async () => {
  server = await startTestPostgres();
}, 60_000);
afterAll(() => server.stop());
beforeEach(async () => {
  fixture = await startLogFixture(server);
  here = new CommitSignal({ postgres: fixture.postgres, logger: testLogger });
  there = new CommitSignal({ postgres: await fixture.connect(), logger: testLogger });
  heads = [];
  registryChanges = 0;
  there.onCommit((head) => heads.push(head));
  there.onRegistryChange(() => registryChanges++);
  await here.start();
  await there.start();
  // The registry is signalled with each new connection.
  await until(() => registryChanges === 1);
});
afterEach(async () => {
  await here.stop();
  await there.stop();
  await fixture.stop();
});

test("a commit wakes this process at once and others by NOTIFY", async () => {
  const own: number[] = [];
  const end = here.onCommit((head) => own.push(head));
  here.committed(7);
  expect(own).toEqual([7]);
  await until(() => heads.includes(7));
  end();
  here.committed(8);
  expect(own).toEqual([7]);
  await until(() => heads.includes(8));
});

test("many commits share notifications, and the last one always arrives", async () => {
  for (let head = 1; head <= 5_000; head++) here.committed(head);
  await until(() => heads.at(-1) === 5_000);
  expect(heads.length).toBeLessThan(100);
});

test("a change of the registry is told", async () => {
  here.registryChanged();
  await until(() => registryChanges === 2);
});

test("after a lost connection the head is told at once", async () => {
  const log = await fixture.log("main");
  await fixture.postgres.pool.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' OR query = 'SELECT position FROM emcache.head'",
  );
  // Appended without a signal, as if that one had been lost.
  await log.append(batchOf([upsert("a"), upsert("b")]), testSignal());
  await until(() => heads.includes(2));
  expect(registryChanges).toBe(2);
});
