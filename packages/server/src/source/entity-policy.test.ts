import type { Entity } from "@emcache/protocol";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { makeSourceEntity, TestCapture, TestSource } from "./testing/test-capture.ts";

interface Item {
  _id: string;
  seq?: unknown;
  kind?: string;
}

let source: TestSource;
let capture: TestCapture;

beforeEach(async () => {
  source = await TestSource.start();
});

afterEach(async () => {
  await capture.stop();
  await source.stop();
});

function items() {
  return source.db.collection<Item>("items");
}

async function startWith(...entities: readonly Entity[]): Promise<void> {
  capture = new TestCapture(source, entities);
  await capture.start();
}

describe("on_reject", () => {
  test("null: the value is NULL, in copy and stream", async () => {
    await items().insertOne({ _id: "a", seq: "text" });
    await startWith(makeSourceEntity(1, "items"));
    await capture.untilState(1, "done");
    await items().insertOne({ _id: "b", seq: "text" });
    await capture.untilIds(1, ["a", "b"]);
    expect(capture.log.table(1).get("b")).toBe("[null]");
    expect(capture.log.rejects.map(({ docId, column }) => [docId, column])).toEqual([
      ["a", "seq"],
      ["b", "seq"],
    ]);
  });

  test("skip_document: it has no row, loses the one that it had, and a reject tells it", async () => {
    await items().insertMany([
      { _id: "a", seq: "text" },
      { _id: "b", seq: 1 },
    ]);
    await startWith(makeSourceEntity(1, "items", { on_reject: "skip_document" }));
    await capture.untilState(1, "done");
    expect(capture.ids(1)).toEqual(["b"]);
    await items().updateOne({ _id: "b" }, { $set: { seq: "text" } });
    await items().insertOne({ _id: "c", seq: 2 });
    await capture.untilIds(1, ["c"]);
    await items().replaceOne({ _id: "b" }, { seq: 3 });
    await capture.untilIds(1, ["b", "c"]);
    expect(capture.log.rejects.map(({ docId, reason }) => [docId, reason.includes("is not cached")])).toEqual([
      ["a", true],
      ["b", true],
    ]);
  });

  test("stop, in the stream: the entity takes nothing more, the others go on, a new copy goes on", async () => {
    await items().insertOne({ _id: "a", seq: 1 });
    await startWith(makeSourceEntity(1, "items", { on_reject: "stop" }), makeSourceEntity(2, "items"));
    await capture.untilState(1, "done");
    await capture.untilState(2, "done");
    await items().insertMany([
      { _id: "b", seq: "text" },
      { _id: "c", seq: 2 },
    ]);
    await capture.untilState(1, "stopped");
    await items().insertOne({ _id: "d", seq: 3 });
    await capture.untilIds(2, ["a", "b", "c", "d"]);
    expect(capture.ids(1)).toEqual(["a"]);
    expect(capture.log.rejects.filter(({ version }) => version === 1)).toMatchObject([{ docId: "b" }]);

    await items().updateOne({ _id: "b" }, { $set: { seq: 4 } });
    capture.requested = [1];
    await capture.untilIds(1, ["a", "b", "c", "d"]);
    await items().deleteOne({ _id: "a" });
    await capture.untilIds(1, ["b", "c", "d"]);
  });

  test("stop, in a source transaction: nothing of it is seen", async () => {
    await startWith(makeSourceEntity(1, "items", { on_reject: "stop" }), makeSourceEntity(2, "items"));
    await capture.untilState(1, "done");
    await capture.untilState(2, "done");
    await source.transaction(async (session) => {
      await items().insertOne({ _id: "a", seq: 1 }, { session });
      await items().insertOne({ _id: "b", seq: "text" }, { session });
    });
    await capture.untilState(1, "stopped");
    await capture.untilIds(2, ["a", "b"]);
    expect(capture.ids(1)).toEqual([]);
  });

  test("stop, in the copy: it never becomes whole, also after a restart", async () => {
    await items().insertMany([
      { _id: "a", seq: 1 },
      { _id: "b", seq: "text" },
      { _id: "c", seq: 2 },
    ]);
    await startWith(makeSourceEntity(1, "items", { on_reject: "stop" }), makeSourceEntity(2, "items"));
    await capture.untilState(2, "done");
    await capture.untilState(1, "stopped");
    const operations = capture.log.rows.filter(({ version }) => version === 1).map(({ operation }) => operation);
    expect(operations).toEqual(["sync_start", "upsert"]);

    await capture.stop();
    const { log } = capture;
    capture = new TestCapture(source, [
      makeSourceEntity(1, "items", { on_reject: "stop" }),
      makeSourceEntity(2, "items"),
    ]);
    for (const copy of log.copies.values()) capture.log.copies.set(copy.version, copy);
    capture.log.checkpoint = log.checkpoint;
    await capture.start();
    await items().insertOne({ _id: "d", seq: 3 });
    await capture.until("the other goes on", () => capture.log.rows.some(({ docId }) => docId === "d"));
    expect(capture.log.rows.filter(({ version }) => version === 1)).toEqual([]);
  });
});

describe("on_drop", () => {
  test("keep: the rows stay and the entity is stale until it is copied anew; empty: they go", async () => {
    await items().insertOne({ _id: "a", seq: 1 });
    await startWith(makeSourceEntity(1, "items", { on_drop: "keep" }), makeSourceEntity(2, "items"));
    await capture.untilState(1, "done");
    await capture.untilState(2, "done");
    await items().drop();
    await capture.untilState(1, "kept");
    await items().insertOne({ _id: "b", seq: 1 });
    await capture.untilIds(2, ["b"]);
    expect(capture.ids(1)).toEqual(["a"]);
    expect(capture.logLines.map(({ event }) => event)).toContain("entity_stale");
    capture.requested = [1];
    await capture.untilIds(1, ["b"]);
  });
});

describe("filter", () => {
  test("documents that it lets through are rows, one that leaves is a delete, one that comes is a row", async () => {
    await items().insertMany([
      { _id: "a", seq: 1, kind: "red" },
      { _id: "b", seq: 1, kind: "blue" },
    ]);
    await startWith(makeSourceEntity(1, "items", { filter: { kind: "red", seq: { $lt: 10 } } }));
    await capture.untilState(1, "done");
    expect(capture.ids(1)).toEqual(["a"]);
    await items().insertMany([
      { _id: "c", seq: 1, kind: "red" },
      { _id: "d", seq: 1, kind: "blue" },
    ]);
    await items().updateOne({ _id: "b" }, { $set: { kind: "red" } });
    await items().updateOne({ _id: "a" }, { $set: { seq: 10 } });
    await items().replaceOne({ _id: "c" }, { seq: 2, kind: "blue" });
    await capture.untilIds(1, ["b"]);
    // An insert that does not match was nothing before: no row says so.
    expect(capture.log.rows.filter(({ docId }) => docId === "d")).toEqual([]);
  });
});

describe("pause", () => {
  test("a copy that rests reads nothing, the stream goes on; then it goes on after its last row", async () => {
    await items().insertMany(
      Array.from({ length: 3_000 }, (_, index) => ({ _id: String(10_000 + index), seq: index })),
    );
    capture = new TestCapture(source, [makeSourceEntity(1, "items")], { copySettings: { rowsPerSMax: 200 } });
    await capture.start();
    await capture.until("some rows are copied", () => (capture.log.copies.get(1)?.rowCount ?? 0) > 0);
    capture.paused = ["items_1"];
    await items().insertOne({ _id: "z", seq: 1 });
    await capture.until("the stream goes on", () => capture.log.rows.some(({ docId }) => docId === "z"));
    await capture.until("the copy rests", () => capture.logLines.some(({ event }) => event === "copy_paused"));
    const { rowCount, copyId } = capture.log.copies.get(1)!;
    expect(rowCount).toBeLessThan(3_000);
    capture.paused = [];
    await capture.until("it goes on", () => (capture.log.copies.get(1)?.rowCount ?? 0) > rowCount);
    expect(capture.log.copies.get(1)?.copyId).toBe(copyId);
    const copied = capture.log.rows.filter(({ origin, operation }) => origin === "copy" && operation === "upsert");
    expect(new Set(copied.map(({ docId }) => docId)).size).toBe(copied.length);
  });
});

describe("copies", () => {
  test("read from secondaries are a find of its own each chunk, and lose nothing", async () => {
    const ids = Array.from({ length: 5_000 }, (_, index) => String(10_000 + index));
    // No cursor outlives its first reply, which another member may have given.
    source.server.faults.failCommands({ commands: ["getMore"], collection: "shop.items", times: Infinity, code: 43 });
    await items().insertMany(ids.map((_id, seq) => ({ _id, seq, kind: seq % 2 === 0 ? "red" : "blue" })));
    capture = new TestCapture(
      source,
      [makeSourceEntity(1, "items"), makeSourceEntity(2, "items", { filter: { kind: "red" } })],
      {
        copySettings: { readPreference: "secondary" },
      },
    );
    await capture.start();
    await capture.untilState(1, "done");
    await capture.untilState(2, "done");
    expect(capture.ids(1)).toEqual(ids);
    expect(capture.ids(2)).toHaveLength(2_500);
  });
});
