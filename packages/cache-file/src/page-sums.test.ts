import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  closeSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entity } from "@emcache/protocol";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CacheFile } from "./cache-file.ts";
import type { CacheRow } from "./cache-row.ts";

const ENTITY: Entity = {
  id: 1,
  name: "users",
  client: "main",
  source: "users",
  created_at: "2026-01-01T00:00:00Z",
  shape: {
    id_column: { path: "$._id", type: "string" },
    columns: [
      { name: "a", type: "string", path: "$.a" },
      { name: "b", type: "string", path: "$.b" },
    ],
    indexes: [{ name: "a_idx", columns: ["a"] }],
  },
};
const ROWS = 3000;
const PAGE_BYTES = 4096;

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "emcache-sums-"));
  path = join(directory, "users.v1.db");
});

afterEach(() => rmSync(directory, { recursive: true }));

function open(): CacheFile {
  return CacheFile.open(path, { entity: ENTITY, logId: "log" });
}

function row(position: number, operation: CacheRow["operation"], docId = "", note = ""): CacheRow {
  const data = operation === "upsert" ? JSON.stringify([`a-${docId}`, `${note}${"x".repeat(200)}`]) : null;
  return { position, operation, docId, idType: 2, origin: "stream", transaction: null, transactionEnd: false, data };
}

function makeFile(): CacheFile {
  const file = open();
  const upserts = Array.from({ length: ROWS }, (_, index) => row(index + 2, "upsert", `id-${index}`));
  file.apply([row(1, "sync_start"), ...upserts, row(ROWS + 2, "sync_end")], { position: ROWS + 2, tag: "t" });
  return file;
}

/** Changes every row, so that the WAL holds pages of all kinds. */
function changeAll(file: CacheFile, note: string): void {
  const from = file.position;
  const rows = Array.from({ length: ROWS }, (_, index) => row(from + 1 + index, "upsert", `id-${index}`, note));
  file.apply(rows, { position: from + ROWS, tag: note });
}

function flip(target: string, offset: number): void {
  const file = openSync(target, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte.writeUInt8(byte.readUInt8() ^ 0x01);
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

const damaged = (reason: string) =>
  expect.objectContaining({
    code: "cache_damaged",
    details: expect.objectContaining({ reason }) as Record<string, unknown>,
  });

describe("a file that was changed while it was closed", () => {
  beforeEach(() => makeFile().close());

  it("is as it was when nobody changed it", () => {
    const file = open();
    expect(file.rowCount()).toBe(ROWS);
    file.close();
    open().close();
  });

  it("shows one flipped bit in every page, wherever in it", () => {
    const pages = statSync(path).size / PAGE_BYTES;
    for (let page = 1; page < pages; page += Math.ceil(pages / 40)) {
      const offset = page * PAGE_BYTES + ((page * 997) % PAGE_BYTES);
      flip(path, offset);
      expect(open, `a flip at ${offset}`).toThrow(damaged("page-checksum"));
      flip(path, offset);
    }
    open().close();
  });

  it("shows a flipped bit in the header", () => {
    for (const offset of [20, 27, 60, 68]) {
      flip(path, offset);
      expect(open, `a flip at ${offset}`).toThrow(expect.objectContaining({ code: "cache_damaged" }));
      flip(path, offset);
    }
  });

  it("shows that its end was cut", () => {
    truncateSync(path, statSync(path).size - 2 * PAGE_BYTES);
    // SQLite finds it where it reads the header; the checksums where it does not.
    expect(open).toThrow(expect.objectContaining({ code: "cache_damaged" }));
  });

  it("shows a value that was changed by SQL, which SQLite finds in order", () => {
    const other = new Database(path);
    other.exec("UPDATE data SET b = 'by hand' WHERE id = 'id-7'");
    expect(other.pragma("integrity_check", { simple: true })).toBe("ok");
    other.close();
    expect(open).toThrow(damaged("page-checksum"));
  });

  it("shows an older copy in its place", () => {
    copyFileSync(path, `${path}.older`);
    const file = open();
    changeAll(file, "new");
    file.close();
    copyFileSync(`${path}.older`, path);
    expect(open).toThrow(damaged("page-checksum"));
  });

  it("is read whole where its checksums were removed, and has them again", () => {
    rmSync(`${path}-sums`);
    open().close();
    flip(path, 5 * PAGE_BYTES + 3000);
    expect(open).toThrow(damaged("page-checksum"));
  });
});

describe("a file whose process was killed", () => {
  /** The files of a cache as a kill would leave them, under another name. */
  function leave(file: CacheFile): void {
    for (const suffix of ["", "-wal", "-sums"]) copyFileSync(path + suffix, `${path}.left${suffix}`);
    file.close();
    for (const suffix of ["", "-wal", "-sums"]) {
      rmSync(path + suffix, { force: true });
      copyFileSync(`${path}.left${suffix}`, path + suffix);
    }
    rmSync(`${path}-shm`, { force: true });
  }

  it("is as it was", () => {
    const file = makeFile();
    file.checkpoint();
    changeAll(file, "new");
    const { position } = file;
    leave(file);
    const again = open();
    expect(again.position).toBe(position);
    again.close();
    open().close();
  });

  it("is a whole older one where its WAL was removed", () => {
    const file = makeFile();
    file.checkpoint();
    changeAll(file, "new");
    leave(file);
    rmSync(`${path}-wal`);
    const again = open();
    expect(again.position).toBe(ROWS + 2);
    again.verifyIntegrity();
    again.close();
  });

  it("shows an older database file under a newer WAL", () => {
    const file = makeFile();
    file.checkpoint();
    copyFileSync(path, `${path}.older`);
    changeAll(file, "new");
    file.checkpoint();
    file.apply([row(file.position + 1, "upsert", "id-1")], { position: file.position + 1, tag: "t" });
    leave(file);
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(0);
    copyFileSync(`${path}.older`, path);
    expect(open).toThrow(expect.objectContaining({ code: "cache_damaged" }));
  });

  it("shows that it was killed in mid-checkpoint and its WAL removed", () => {
    const file = makeFile();
    file.checkpoint();
    copyFileSync(path, `${path}.before`);
    changeAll(file, "new");
    file.checkpoint();
    const sums = `${path}-sums`;
    copyFileSync(sums, `${sums}.new`);
    file.close();
    // Some pages of then, some of before.
    const half = openSync(path, "r+");
    const before = openSync(`${path}.before`, "r");
    const bytes = Buffer.alloc(40 * PAGE_BYTES);
    readSync(before, bytes, 0, bytes.length, 30 * PAGE_BYTES);
    writeSync(half, bytes, 0, bytes.length, 30 * PAGE_BYTES);
    closeSync(half);
    closeSync(before);
    expect(open).toThrow(damaged("page-checksum"));
  });
});

describe("a file that is changed while it is open", () => {
  const MEBIBYTE = 1024 * 1024;
  /** Bigger than the file. */
  const ALL = 64 * MEBIBYTE;
  let file: CacheFile;

  beforeEach(() => {
    file = makeFile();
    file.checkpoint();
    file.check(ALL);
  });

  afterEach(() => file.close());

  it("is checked bit by bit", () => {
    flip(path, 100 * PAGE_BYTES + 17);
    // Whoever wrote it left a time; then it is checked soon.
    expect(() => file.check(PAGE_BYTES)).toThrow(damaged("page-checksum"));
  });

  it("is not mistaken for a changed one while the WAL is moved into it", () => {
    for (let round = 0; round < 5; round++) {
      changeAll(file, `round-${round}`);
      file.check(ALL);
      if (round % 2 === 0) file.checkpoint();
      file.check(ALL);
    }
  });

  it("shows a write of another program, whatever it wrote", () => {
    const other = new Database(path);
    other.exec("DELETE FROM data WHERE id = 'id-5'");
    expect(() => file.check(1)).toThrow(damaged("foreign-write"));
    other.close();
  });

  it("shows a schema that was changed by hand, at the next page too", () => {
    const other = new Database(path);
    other.exec("ALTER TABLE data ADD COLUMN more");
    other.close();
    const { position } = file;
    expect(() => file.apply([row(position + 1, "upsert", "id-1")], { position: position + 1, tag: "t" })).toThrow(
      damaged("schema"),
    );
  });

  it("shows that its WAL was removed", () => {
    changeAll(file, "new");
    expect(existsSync(`${path}-wal`)).toBe(true);
    rmSync(`${path}-wal`);
    expect(() => file.check(1)).toThrow(damaged("removed"));
  });
});
