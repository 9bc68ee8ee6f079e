import { expect, test } from "vitest";
import { systemClock } from "../runtime/clock.ts";
import { StreamProgress } from "./stream-progress.ts";
import { type StreamRequest, StreamRequestDesk, type StreamRequestList } from "./stream-requests.ts";

const request = (id: string, time: bigint): StreamRequest => ({ id, time, collection: "c", documentKeys: [] });

test("a request is handed out once, when the stream has passed its time and not before", () => {
  const progress = new StreamProgress(false);
  const desk = new StreamRequestDesk(progress);
  desk.take([request("a", 10n), request("b", 20n)]);
  progress.processed(10n);
  expect(desk.takePassed(), "an event at that time may be followed by another of the same time").toBeNull();
  progress.processed(11n);
  expect(desk.takePassed()?.id).toBe("a");
  expect(desk.takePassed()).toBeNull();
  // Listed until it is answered.
  desk.take([request("a", 10n), request("b", 20n)]);
  expect(desk.takePassed()).toBeNull();
  desk.failed("a");
  desk.take([request("a", 10n), request("b", 20n)]);
  expect(desk.takePassed()?.id).toBe("a");
});

test("an empty batch that answers an earlier question of the stream does not count", () => {
  const progress = new StreamProgress(false);
  const desk = new StreamRequestDesk(progress);
  const before = progress.sent();
  desk.take([request("a", 10n)]);
  progress.wasEmpty(before, null);
  expect(desk.takePassed()).toBeNull();
  progress.wasEmpty(progress.sent(), null);
  expect(desk.takePassed()?.id).toBe("a");
});

test("what nobody asks for any more is forgotten", () => {
  const progress = new StreamProgress(false);
  const desk = new StreamRequestDesk(progress);
  desk.take([request("a", 10n)]);
  expect(desk.isWaiting).toBe(true);
  desk.take([]);
  expect(desk.isWaiting).toBe(false);
});

test("an answer is given once it is in the log, and again where it did not arrive", async () => {
  const progress = new StreamProgress(false);
  progress.processed(11n);
  const desk = new StreamRequestDesk(progress);
  const end = new AbortController();
  const asked: (() => void)[] = [];
  const answered: string[] = [];
  let failures = 1;
  const waiting = new Set(["a"]);
  const list: StreamRequestList = {
    list: async () => [...waiting].map((id) => request(id, 10n)),
    answer: async (id) => {
      if (failures-- > 0) throw new Error("PostgreSQL is away");
      answered.push(id);
      waiting.delete(id);
    },
    onAsked: (listener) => {
      asked.push(listener);
      return () => asked.splice(0);
    },
  };
  const serving = desk.serve(list, "main", { clock: systemClock, signal: end.signal });
  await expect.poll(() => desk.takePassed()?.id, { timeout: 10_000 }).toBe("a");
  expect(answered).toEqual([]);
  desk.logged("a");
  asked[0]?.();
  await expect.poll(() => answered, { timeout: 10_000 }).toEqual(["a"]);
  end.abort();
  await serving;
  expect(asked).toEqual([]);
});
