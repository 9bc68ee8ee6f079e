import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entity } from "@emcache/protocol";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CacheFile } from "./cache-file.ts";
import type { CacheRow } from "./cache-row.ts";
import { openReader } from "./open-reader.ts";

const ENTITY: Entity = {
  id: 7,
  name: "users",
  client: "main",
  source: "users",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "email", type: "string", path: "$.email" },
      { name: 'odd "name"', type: "any", path: "$.odd" },
    ],
    indexes: [{ name: "email_idx", columns: ["email"] }],
  },
};

const STRING = 0x02;
const OBJECT_ID = 0x07;

let directory: string;
let path: string;
const opened: CacheFile[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "emcache-file-"));
  path = join(directory, "users.v7.db");
});

afterEach(() => {
  for (const file of opened.splice(0)) file.close();
  rmSync(directory, { recursive: true });
});

function open(options: Partial<Parameters<typeof CacheFile.open>[1]> = {}): CacheFile {
  const file = CacheFile.open(path, { entity: ENTITY, logId: "log-a", ...options });
  opened.push(file);
  return file;
}

function row(position: number, change: Partial<CacheRow>): CacheRow {
  return {
    position,
    operation: "upsert",
    docId: "",
    idType: STRING,
    origin: "stream",
    transaction: null,
    transactionEnd: false,
    data: null,
    ...change,
  };
}

function upsert(position: number, docId: string, email: string, change: Partial<CacheRow> = {}): CacheRow {
  return row(position, { docId, data: JSON.stringify([email, null]), ...change });
}

const syncStart = (position: number) => row(position, { operation: "sync_start", idType: 0, origin: "copy" });
const syncEnd = (position: number) => row(position, { operation: "sync_end", idType: 0, origin: "copy" });
const remove = (position: number, docId: string, idType = STRING) =>
  row(position, { operation: "delete", docId, idType });
const at = (position: number) => ({ position, tag: `tag-${position}` });

function emails(table = "data"): string[] {
  const reader = openReader(path);
  try {
    return reader.prepare<[], string>(`SELECT id || '=' || email FROM ${table} ORDER BY id`).pluck().all();
  } finally {
    reader.close();
  }
}

function metadata(key: string): unknown {
  const reader = openReader(path);
  try {
    return reader.prepare("SELECT value FROM metadata WHERE key = ?").pluck().get(key);
  } finally {
    reader.close();
  }
}

function makeLive(file: CacheFile): void {
  file.apply([syncStart(1), upsert(2, "a", "a1", { origin: "copy" }), syncEnd(3)], at(3));
}

describe("copies", () => {
  it("serves nothing before the first copy is complete, then all of it at once", () => {
    const file = open();
    expect(file.mode).toBe("sync");
    file.apply(
      [upsert(1, "early", "x"), syncStart(2), upsert(3, "a", "a1", { origin: "copy" }), upsert(4, "b", "b1")],
      at(4),
    );
    expect([file.mode, file.dataState, emails(), emails("data_sync")]).toEqual(["sync", "empty", [], ["a=a1", "b=b1"]]);
    expect(file.apply([syncEnd(5)], at(5)).switched).toBe(true);
    expect([file.mode, file.dataState, emails(), emails("data_sync")]).toEqual(["live", "whole", ["a=a1", "b=b1"], []]);
    expect([metadata("mode"), metadata("max_oplog_id"), metadata("tag")]).toEqual(["live", "5", "tag-5"]);
  });

  it("6. old data until new data is whole, and fresh meanwhile; 7. no orphans", () => {
    const file = open();
    makeLive(file);
    file.apply([syncStart(4), upsert(5, "b", "b1", { origin: "copy" }), upsert(6, "c", "c1")], at(6));
    expect([file.mode, file.dataState]).toEqual(["sync", "whole"]);
    expect(emails("users")).toEqual(["a=a1", "c=c1"]);
    file.apply([syncEnd(7)], at(7));
    expect(emails("users")).toEqual(["b=b1", "c=c1"]);
    const reader = openReader(path);
    const plan = reader
      .prepare<[], { detail: string }>("EXPLAIN QUERY PLAN SELECT * FROM users WHERE email = 'x'")
      .all();
    reader.close();
    expect(plan[0]?.detail).toContain("email_idx");
  });

  it("starts a copy anew at a second sync_start", () => {
    const file = open();
    file.apply([syncStart(1), upsert(2, "gone", "x", { origin: "copy" }), syncStart(3)], at(3));
    file.apply([upsert(4, "a", "a1", { origin: "copy" }), syncEnd(5)], at(5));
    expect(emails()).toEqual(["a=a1"]);
  });

  it("passes over a sync_end whose sync_start it never saw, and says so", () => {
    const file = open();
    expect(file.apply([upsert(8, "a", "a1", { origin: "copy" }), syncEnd(9)], at(9))).toMatchObject({
      switched: false,
      copyMissed: true,
    });
    expect([file.mode, file.position, emails()]).toEqual(["sync", 9, []]);
  });

  it("keeps serving stale data after a rebase until the next copy", () => {
    const file = open();
    makeLive(file);
    file.rebase({ position: 1, tag: "other" });
    expect([file.mode, file.dataState, file.position, emails()]).toEqual(["sync", "stale", 1, ["a=a1"]]);
    file.apply([syncStart(2), upsert(3, "z", "z1", { origin: "copy" }), syncEnd(4)], at(4));
    expect([file.mode, file.dataState, emails()]).toEqual(["live", "whole", ["z=z1"]]);
  });
});

describe("positions", () => {
  it("5. position inside the cache: a page applied twice changes nothing", () => {
    const file = open();
    makeLive(file);
    file.apply([upsert(4, "a", "a2"), remove(5, "a"), upsert(6, "b", "b1")], at(6));
    file.apply([upsert(4, "a", "a2")], at(4));
    expect([file.position, file.tag, emails()]).toEqual([6, "tag-6", ["b=b1"]]);
  });

  it("5. position inside the cache: a failed page leaves rows and position as they were", () => {
    const file = open();
    makeLive(file);
    const unreadable = {
      ...upsert(6, "c", "c1"),
      get docId(): string {
        throw new RangeError("in mid-page");
      },
    };
    // What precedes the barrier is written by then.
    expect(() => file.apply([upsert(4, "b", "b1"), syncStart(5), unreadable], at(6))).toThrow("in mid-page");
    expect([file.position, file.appliedPoint.position, emails()]).toEqual([3, 3, ["a=a1"]]);
    file.apply([upsert(4, "b", "b1")], at(4));
    expect(emails()).toEqual(["a=a1", "b=b1"]);
  });

  it("goes on where a second process in the same directory has left off", () => {
    const first = open();
    const second = open();
    makeLive(first);
    first.apply([upsert(4, "a", "new")], at(4));
    second.apply([syncStart(1), upsert(2, "a", "old", { origin: "copy" }), syncEnd(3)], at(3));
    expect([second.position, emails()]).toEqual([4, ["a=new"]]);
  });

  it("survives a reopening", () => {
    const file = open();
    makeLive(file);
    file.close();
    const again = open();
    expect([again.position, again.tag, again.mode, again.rowCount()]).toEqual([3, "tag-3", "live", 1]);
  });
});

describe("source transactions", () => {
  const inside = { transaction: "t1" };

  it("show nothing over pages until their end, the position included", () => {
    const file = open();
    makeLive(file);
    expect(file.apply([upsert(4, "b", "b1", inside)], at(4)).isOpen).toBe(true);
    expect([file.position, file.appliedPoint.position, emails()]).toEqual([3, 4, ["a=a1"]]);
    expect(file.apply([upsert(5, "k", "copied", { origin: "copy" })], at(5)).isOpen).toBe(true);
    expect(file.apply([upsert(6, "c", "c1", { ...inside, transactionEnd: true })], at(6)).isOpen).toBe(false);
    expect([file.position, emails()]).toEqual([6, ["a=a1", "b=b1", "c=c1"]]);
  });

  it("end at a row of no transaction", () => {
    const file = open();
    makeLive(file);
    file.apply([upsert(4, "b", "b1", inside)], at(4));
    expect(file.apply([upsert(5, "c", "c1")], at(5)).isOpen).toBe(false);
    expect(file.position).toBe(5);
  });

  it("let what precedes them be committed where its tag is known", () => {
    const file = open();
    makeLive(file);
    const rows = [upsert(4, "b", "b1"), upsert(5, "c", "c1", inside)];
    expect(file.apply(rows, at(5), (position) => `tag-${position}`).isOpen).toBe(true);
    expect([file.position, file.tag, file.appliedPoint.position, emails()]).toEqual([4, "tag-4", 5, ["a=a1", "b=b1"]]);
  });

  it("are read again after a crash in their midst", () => {
    const file = open();
    makeLive(file);
    file.apply([upsert(4, "b", "b1", inside)], at(4));
    file.close();
    expect([open().position, emails()]).toEqual([3, ["a=a1"]]);
  });

  it("are committed in parts beyond the limit of rows", () => {
    const file = open({ transactionRowsMax: 1 });
    makeLive(file);
    expect(file.apply([upsert(4, "b", "b1", inside), upsert(5, "c", "c1", inside)], at(5)).isOpen).toBe(false);
    expect(file.position).toBe(5);
  });
});

describe("8. nothing dropped in silence: two _ids never become one row", () => {
  it("rejects an upsert of another type and ignores its delete", () => {
    const file = open();
    makeLive(file);
    const result = file.apply([upsert(4, "a", "other", { idType: OBJECT_ID }), remove(5, "a", OBJECT_ID)], at(5));
    expect(result.rejects).toEqual([
      {
        position: 4,
        docId: "a",
        idType: OBJECT_ID,
        idTypeKept: STRING,
        reason: expect.stringContaining("another BSON type") as string,
      },
    ]);
    expect(emails()).toEqual(["a=a1"]);
  });

  it("tells documents apart whose key is the same part of their _ids", () => {
    const file = open();
    const [first, second] = [{ idType: 1_000 }, { idType: 2_000 }];
    file.apply([syncStart(1), upsert(2, "a", "a1", first), upsert(3, "b", "b1", second), syncEnd(4)], at(4));
    const result = file.apply(
      [upsert(5, "a", "other", second), remove(6, "a", 2_000), upsert(7, "b", "b2", second)],
      at(7),
    );
    expect(result.rejects).toMatchObject([
      { position: 5, docId: "a", idTypeKept: 1_000, reason: expect.stringContaining("is not unique") as string },
    ]);
    expect(emails()).toEqual(["a=a1", "b=b2"]);
    file.apply([remove(8, "a", 1_000), upsert(9, "a", "other", second)], at(9));
    expect(emails()).toEqual(["a=other", "b=b2"]);
  });

  it("keeps the type of a row that differs, over a reopening and a switch", () => {
    const file = open();
    makeLive(file);
    file.apply([syncStart(4), upsert(5, "a", "a1"), upsert(6, "x", "x1", { idType: OBJECT_ID }), syncEnd(7)], at(7));
    file.close();
    const again = open();
    expect(again.apply([remove(8, "x"), upsert(9, "x", "no")], at(9)).rejects).toHaveLength(1);
    expect(emails()).toEqual(["a=a1", "x=x1"]);
    again.apply([remove(10, "x", OBJECT_ID), upsert(11, "x", "now a string")], at(11));
    expect(emails()).toEqual(["a=a1", "x=now a string"]);
  });

  it("takes numbers that MongoDB holds equal for one _id", () => {
    const file = open();
    file.apply(
      [syncStart(1), upsert(2, "1", "int", { idType: 0x10 }), upsert(3, "1", "double", { idType: 0x01 }), syncEnd(4)],
      at(4),
    );
    expect(emails()).toEqual(["1=double"]);
  });

  it("rejects a row that can't be read and applies the rest", () => {
    const file = open();
    makeLive(file);
    const result = file.apply([row(4, { docId: "b", data: '["only one"]' }), upsert(5, "c", "c1")], at(5));
    expect(result.rejects).toMatchObject([{ position: 4, docId: "b", idTypeKept: null }]);
    expect(emails()).toEqual(["a=a1", "c=c1"]);
  });
});

describe("ids of type number", () => {
  it("are INTEGER over the whole 64-bit range; others are rejects", () => {
    const entity: Entity = { ...ENTITY, shape: { ...ENTITY.shape, id_column: { path: "$._id", type: "number" } } };
    const file = open({ entity });
    const ids = ["9223372036854775807", "-9223372036854775808", "1.5", "", "9223372036854775808"];
    const rows = ids.map((id, index) => upsert(index + 2, id, "x", { idType: 0x12 }));
    const { rejects } = file.apply([syncStart(1), ...rows, syncEnd(7)], at(7));
    expect(rejects.map((reject) => reject.docId)).toEqual(["1.5", "", "9223372036854775808"]);
    expect(emails()).toEqual(["-9223372036854775808=x", "9223372036854775807=x"]);
  });
});
