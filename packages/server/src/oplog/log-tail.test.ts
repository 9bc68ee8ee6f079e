import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../../../test/support/seeded-random.ts";
import { LogTail } from "./log-tail.ts";
import type { OplogPage, PageRow } from "./oplog-page.ts";

const BYTES_MAX = 30_000;

function rowAt(position: number, version: number, length: number): PageRow {
  return {
    position,
    version,
    operation: "upsert",
    docId: String(position),
    idType: 2,
    origin: "stream",
    transaction: null,
    transactionEnd: false,
    data: `["${"x".repeat(length)}"]`,
    createdAt: "2026-01-02T03:04:05.678Z",
  };
}

/** A page of whole batches after a position. */
function pageOf(after: number, batches: readonly PageRow[][], head = 1_000_000): OplogPage {
  const rows = batches.flat();
  const position = rows.at(-1)?.position ?? after;
  return {
    logId: "log",
    floor: 1,
    head,
    rows,
    position,
    tag: `t${position}`,
    tagAtFrom: `t${after}`,
    full: false,
    batches: batches.map((batch) => ({
      first: batch[0]?.position ?? 0,
      count: batch.length,
      tag: `t${batch.at(-1)?.position ?? 0}`,
    })),
  };
}

function newTail(position = 0): LogTail {
  return new LogTail({ logId: "log", floor: 1, position, tag: `t${position}` }, BYTES_MAX);
}

test("what it gives is what the log holds, whatever is asked for, and it stays within its bytes", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new SeededRandom(seed);
    const tail = newTail();
    const all: PageRow[] = [];
    const ends: number[] = [];
    for (let step = 0; step < 100; step++) {
      const after = tail.end;
      const batches = Array.from({ length: random.integer(1, 3) }, () => {
        const batch = Array.from({ length: random.integer(1, 5) }, (_, index) =>
          rowAt(all.length + 1 + index, random.integer(1, 4), random.integer(0, 2_000)),
        );
        all.push(...batch);
        ends.push(all.length);
        return batch;
      });
      tail.append(pageOf(after, batches));
      tail.trim();
      expect(tail.end).toBe(all.length);
      expect(tail.bytes).toBeLessThanOrEqual(BYTES_MAX);

      const from = random.integer(0, all.length);
      const versions = new Set([random.integer(1, 4), random.integer(1, 4)]);
      const limit = random.integer(1, 10);
      if (!tail.covers(from)) {
        expect(from).toBeLessThan(tail.end);
        continue;
      }
      const wanted = all.filter(({ position, version }) => position > from && versions.has(version));
      const read = tail.read({ after: from, versions, limit, bytesMax: 1_000_000 });
      expect(read.rows).toEqual(wanted.slice(0, limit));
      const position = wanted.length >= limit ? (wanted[limit - 1]?.position ?? 0) : all.length;
      expect(read.position).toBe(position);
      expect(read.tag).toBe(`t${ends.find((end) => end >= position) ?? 0}`);
      expect(read.tagAtFrom).toBe(`t${from === 0 ? 0 : (ends.find((end) => end >= from) ?? 0)}`);
    }
    expect(tail.covers(all.length - 1)).toBe(true);
    expect(tail.covers(0)).toBe(false);
  }
});

describe("a page that begins before its end", () => {
  test("adds only what is new, also where the page cuts a batch", () => {
    const tail = newTail();
    tail.append(pageOf(0, [[rowAt(1, 1, 1), rowAt(2, 1, 1)]]));
    tail.append(pageOf(0, [[rowAt(1, 1, 1), rowAt(2, 1, 1), rowAt(3, 1, 1)], [rowAt(4, 1, 1)]]));
    const { rows } = tail.read({ after: 0, versions: new Set([1]), limit: 10, bytesMax: 1_000_000 });
    expect(rows.map(({ position }) => position)).toEqual([1, 2, 3, 4]);
  });
});

test("an answer ends with the row that reaches its bytes", () => {
  const tail = newTail();
  tail.append(pageOf(0, [[rowAt(1, 1, 2_000), rowAt(2, 1, 2_000), rowAt(3, 1, 2_000)]]));
  const read = tail.read({ after: 0, versions: new Set([1]), limit: 10, bytesMax: 3_000 });
  expect([read.rows.length, read.position, read.tag]).toEqual([2, 2, "t3"]);
});

test("a batch that is larger than all it may hold leaves it empty, at its end", () => {
  const tail = newTail();
  tail.append(pageOf(0, [[rowAt(1, 1, 2 * BYTES_MAX)]]));
  tail.trim();
  expect([tail.bytes, tail.end, tail.endTag, tail.covers(0), tail.covers(1)]).toEqual([0, 1, "t1", false, true]);
});
