import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entity } from "@emcache/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CacheFile } from "./cache-file.ts";
import type { CacheRow } from "./cache-row.ts";
import { openReader } from "./open-reader.ts";

const ENTITY: Entity = {
  id: 1,
  name: "things",
  client: "main",
  source: "things",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [{ name: "v", type: "integer", path: "$.v" }],
    indexes: [{ name: "v_idx", columns: ["v"] }],
  },
};

/** The rule of the tables in its plainest form: row by row, no batching, no SQL. */
class Model {
  data = new Map<string, [type: number, value: number]>();
  dataSync = new Map<string, [type: number, value: number]>();
  isCopying = false;
  isWhole = false;

  apply(row: CacheRow): void {
    if (row.operation === "sync_start") {
      this.dataSync = new Map();
      this.isCopying = true;
    } else if (row.operation === "sync_end") {
      if (!this.isCopying) return;
      this.data = this.dataSync;
      this.dataSync = new Map();
      this.isCopying = false;
      this.isWhole = true;
    } else {
      if (this.isWhole && row.origin === "stream") change(this.data, row);
      if (this.isCopying) change(this.dataSync, row);
    }
  }
}

function change(table: Model["data"], row: CacheRow): void {
  const kept = table.get(row.docId);
  if (kept !== undefined && kept[0] !== row.idType) return;
  if (row.operation === "delete") table.delete(row.docId);
  else table.set(row.docId, [row.idType, Number(JSON.parse(row.data ?? "")[0])]);
}

/** A row without its position; the history numbers them. Type 0x07 comes seldom, so that both ways of applying run. */
const rowArbitrary = (types: fc.Arbitrary<number>): fc.Arbitrary<Omit<CacheRow, "position">> =>
  fc
    .record({
      kind: fc.oneof(
        { weight: 12, arbitrary: fc.constant("upsert" as const) },
        { weight: 5, arbitrary: fc.constant("delete" as const) },
        { weight: 2, arbitrary: fc.constant("sync_start" as const) },
        { weight: 3, arbitrary: fc.constant("sync_end" as const) },
      ),
      docId: fc.constantFrom("a", "b", "c", "d", "e", "f"),
      idType: types,
      origin: fc.constantFrom("copy" as const, "stream" as const),
      value: fc.integer({ min: 0, max: 1000 }),
      transaction: fc.option(fc.constantFrom("t1", "t2"), { freq: 3 }),
      transactionEnd: fc.boolean(),
    })
    .map(({ kind, docId, idType, origin, value, transaction, transactionEnd }) => {
      const isBracket = kind === "sync_start" || kind === "sync_end";
      const isStream = origin === "stream" && !isBracket;
      return {
        operation: kind,
        docId: isBracket ? "" : docId,
        idType: isBracket ? 0 : idType,
        origin: kind === "delete" ? ("stream" as const) : origin,
        transaction: isStream ? transaction : null,
        transactionEnd: isStream && transaction !== null && transactionEnd,
        data: kind === "upsert" ? `[${value}]` : null,
      };
    });

const oneType = fc.constant(0x02);
const twoTypes = fc.oneof({ weight: 8, arbitrary: fc.constant(0x02) }, { weight: 1, arbitrary: fc.constant(0x07) });

/** A history (with gaps: other entities' rows) and how pages cut it, with a replay from an earlier page after some. */
const caseArbitrary = fc.record({
  rows: fc.oneof(
    fc.array(rowArbitrary(oneType), { maxLength: 60 }),
    fc.array(rowArbitrary(twoTypes), { maxLength: 60 }),
  ),
  gaps: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 60, maxLength: 60 }),
  pages: fc.array(fc.record({ size: fc.integer({ min: 1, max: 20 }), back: fc.nat(5), crash: fc.boolean() }), {
    minLength: 60,
    maxLength: 60,
  }),
  knowsTags: fc.boolean(),
});

let directory: string;
let fileCount = 0;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "emcache-property-"));
});

afterAll(() => rmSync(directory, { recursive: true }));

function contents(path: string, table: string): [string, number][] {
  const reader = openReader(path);
  try {
    return reader.prepare<[], [string, number]>(`SELECT id, v FROM ${table} ORDER BY id`).raw().all();
  } finally {
    reader.close();
  }
}

/** Whether a position lies between two rows of a source transaction, or after one whose end has not come yet. */
function isInside(history: readonly CacheRow[], position: number): boolean {
  const rows = history.filter((row) => row.origin === "stream" && row.docId !== "");
  const before = rows.findLast((row) => row.position <= position);
  if (before === undefined || before.transaction === null || before.transactionEnd) return false;
  const after = rows.find((row) => row.position > position);
  return after === undefined || after.transaction === before.transaction;
}

const sorted = (table: Model["data"]) =>
  [...table].map(([id, [, value]]) => [id, value]).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));

it("equals a row-by-row model at every commit, however pages cut it, crash and replay", { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(caseArbitrary, ({ rows, gaps, pages, knowsTags }) => {
      let position = 0;
      const history = rows.map((row, index) => ({ ...row, position: (position += gaps[index] ?? 1) }));
      const path = join(directory, `${(fileCount += 1)}.db`);
      const options = { entity: ENTITY, logId: "log" };
      const tagAt = (at: number) => (at === 0 ? "" : `t${at}`);
      let file = CacheFile.open(path, options);
      let next = 0;
      for (const { size, back, crash } of pages) {
        if (next >= history.length) break;
        const first = Math.max(0, next - back);
        const page = history.slice(first, next + size);
        const upTo = page.at(-1)?.position ?? 0;
        file.apply(page, { position: upTo, tag: tagAt(upTo) }, knowsTags ? tagAt : undefined);
        if (crash) {
          file.close();
          file = CacheFile.open(path, options);
        }
        next = history.findIndex((row) => row.position > file.appliedPoint.position);
        if (next < 0) next = history.length;
        expect(isInside(history, file.position), "committed inside a source transaction").toBe(false);
        const model = new Model();
        for (const row of history) if (row.position <= file.position) model.apply(row);
        expect(contents(path, "data")).toEqual(sorted(model.data));
        expect(contents(path, "data_sync")).toEqual(sorted(model.dataSync));
        expect(file.tag).toBe(tagAt(file.position));
      }
      file.close();
    }),
    // A busy machine runs fewer rather than too long.
    { numRuns: 150, interruptAfterTimeLimit: 30_000 },
  );
});
