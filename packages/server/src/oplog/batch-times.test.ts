import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestPostgres, startTestPostgres } from "../../../../test/support/test-postgres.ts";
import type { CaptureBatch } from "../source/capture-log.ts";
import { BatchTimes } from "./batch-times.ts";
import { type LogFixture, batchOf, startLogFixture, testSignal, upsert } from "./testing/log-fixture.ts";

let server: TestPostgres;
let fixture: LogFixture;
beforeAll(async () => {
  server = await startTestPostgres();
  fixture = await startLogFixture(server);
}, 60_000);
afterAll(async () => {
  await fixture.stop();
  await server.stop();
});

/** Also a second beyond 2038, of which a signed number's highest bit is set. */
const LATE_S = 2_200_000_000;

function checkpointAt(timeS: number, increment = 1): CaptureBatch["checkpoint"] {
  const clusterTime = (BigInt(timeS) << 32n) | BigInt(increment);
  return { resumeToken: Buffer.from(`${timeS}`), clusterTime, lookupHorizon: null };
}

test("positions and times of one source, whatever another one writes between", async () => {
  const times = new BatchTimes(fixture.postgres.pool);
  const [main, other] = [await fixture.log("main"), await fixture.log("other")];
  const append = (log: typeof main, count: number, timeS: number): Promise<unknown> =>
    log.append(
      batchOf(
        Array.from({ length: count }, (_, index) => upsert(`d${index}`)),
        { checkpoint: checkpointAt(timeS) },
      ),
      testSignal(),
    );
  expect(await times.capturedUntil("main", testSignal())).toBeNull();
  await append(main, 2, 100); // 1, 2
  await append(other, 3, 50); // 3, 4, 5
  await append(main, 2, 102); // 6, 7
  await append(other, 1, 300); // 8
  await append(main, 1, LATE_S); // 9
  const until = (timeS: number): Promise<number | null> => times.lastPositionUntil("main", timeS, testSignal());
  expect([await until(99), await until(100), await until(101), await until(102)]).toEqual([null, 2, 2, 7]);
  expect([await until(LATE_S - 1), await until(LATE_S)]).toEqual([7, 9]);
  const next = (position: number): Promise<number | null> => times.nextPositionAfter("main", position, testSignal());
  expect([await next(2), await next(5), await next(7), await next(9)]).toEqual([6, 6, 9, null]);
  const secondAt = async (position: number): Promise<number | null> => {
    const time = await times.timeAt("main", position, testSignal());
    return time === null ? null : Number(time >> 32n);
  };
  expect([await secondAt(0), await secondAt(1), await secondAt(5), await secondAt(8), await secondAt(9)]).toEqual([
    null,
    100,
    100,
    102,
    LATE_S,
  ]);
  expect(await times.firstTime("main", testSignal())).toBe((100n << 32n) | 1n);
  // A quiet source's time goes on without a batch.
  await main.append(batchOf([], { checkpoint: checkpointAt(LATE_S + 60) }), testSignal());
  expect(await times.capturedUntil("main", testSignal())).toBe((BigInt(LATE_S + 60) << 32n) | 1n);
});
