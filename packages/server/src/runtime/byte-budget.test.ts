import fc from "fast-check";
import { expect, test } from "vitest";
import { type BudgetShare, ByteBudget } from "./byte-budget.ts";

const signal = new AbortController().signal;

/** Whether the promise is settled once everything that was ready has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const mark = (): void => void (settled = true);
  promise.then(mark, mark);
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

test("invariant 10: copies can't take the streams' reserve, and a stream gets it although a copy waits", async () => {
  const budget = new ByteBudget({ bytesMax: 100, reservedBytes: 40 });
  const first = await budget.acquire(60, { share: "copy", signal });
  const waiting = budget.acquire(1, { share: "copy", signal });
  expect(await isSettled(waiting)).toBe(false);
  const stream = await budget.acquire(40, { share: "stream", signal });
  expect(budget.usedBytes).toBe(100);
  stream();
  expect(await isSettled(waiting)).toBe(false);
  first();
  (await waiting)();
  expect(budget.usedBytes).toBe(0);
});

test("one item larger than the budget is admitted alone in its share", async () => {
  const budget = new ByteBudget({ bytesMax: 100, reservedBytes: 40 });
  const chunk = await budget.acquire(60, { share: "copy", signal });
  const huge = await budget.acquire(1_000, { share: "stream", signal });
  const next = budget.acquire(1, { share: "stream", signal });
  expect(await isSettled(next)).toBe(false);
  huge();
  chunk();
  (await next)();
  const hugeCopy = await budget.acquire(1_000, { share: "copy", signal });
  expect(await isSettled(budget.acquire(1, { share: "copy", signal }))).toBe(false);
  hugeCopy();
});

test("streams borrow what copies leave unused, but not while a copy waits", async () => {
  const budget = new ByteBudget({ bytesMax: 100, reservedBytes: 40 });
  const borrowed = await budget.acquire(90, { share: "stream", signal });
  const copy = budget.acquire(50, { share: "copy", signal });
  const more = budget.acquire(5, { share: "stream", signal });
  expect(await isSettled(more)).toBe(false);
  borrowed();
  expect(await isSettled(copy)).toBe(true);
  expect(await isSettled(more)).toBe(true);
  expect(budget.usedBytes).toBe(55);
});

test("is first come, first served within a share", async () => {
  const budget = new ByteBudget({ bytesMax: 10, reservedBytes: 0 });
  const held = await budget.acquire(10, { share: "copy", signal });
  const order: string[] = [];
  const large = budget.acquire(10, { share: "copy", signal }).then((release) => {
    order.push("large");
    release();
  });
  const small = budget.acquire(1, { share: "copy", signal }).then((release) => {
    order.push("small");
    release();
  });
  held();
  await Promise.all([large, small]);
  expect(order).toEqual(["large", "small"]);
});

test("an aborted waiter leaves the queue and lets the next one in; a release counts once", async () => {
  const budget = new ByteBudget({ bytesMax: 10, reservedBytes: 0 });
  const release = await budget.acquire(5, { share: "copy", signal });
  const controller = new AbortController();
  const large = budget.acquire(10, { share: "copy", signal: controller.signal });
  const small = budget.acquire(5, { share: "copy", signal });
  expect(await isSettled(small)).toBe(false);
  controller.abort(new Error("stopped"));
  await expect(large).rejects.toThrow("stopped");
  (await small)();
  release();
  release();
  expect(budget.usedBytes).toBe(0);
  await expect(budget.acquire(1, { share: "copy", signal: AbortSignal.abort(new Error("gone")) })).rejects.toThrow(
    "gone",
  );
});

test("invariant 10: whatever is asked for, the bound holds and everybody is served in the end", async () => {
  const request = fc.record({
    share: fc.constantFrom<BudgetShare>("stream", "copy"),
    bytes: fc.integer({ min: 0, max: 150 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 40 }), fc.infiniteStream(fc.nat()), async (requests, choices) => {
      const bytesMax = 100;
      const reservedBytes = 30;
      const budget = new ByteBudget({ bytesMax, reservedBytes });
      const held: { share: BudgetShare; bytes: number; release: () => void }[] = [];
      const pending = requests.map(async ({ share, bytes }) => {
        const release = await budget.acquire(bytes, { share, signal });
        held.push({ share, bytes, release });
      });
      let served = 0;
      while (served < requests.length) {
        await new Promise((resolve) => setImmediate(resolve));
        expect(held.length).toBeGreaterThan(0);
        for (const share of ["stream", "copy"] as const) {
          const mine = held.filter((item) => item.share === share);
          const sum = mine.reduce((total, item) => total + item.bytes, 0);
          const shareMax = share === "copy" ? bytesMax - reservedBytes : bytesMax;
          expect(sum <= shareMax || mine.filter((item) => item.bytes > 0).length === 1).toBe(true);
        }
        const [item] = held.splice((choices.next().value ?? 0) % held.length, 1);
        item?.release();
        served++;
      }
      await Promise.all(pending);
      expect(budget.usedBytes).toBe(0);
    }),
    { numRuns: 60 },
  );
});
