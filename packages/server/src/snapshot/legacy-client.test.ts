import type { CacheRow } from "@emcache/cache-file";
import Database from "better-sqlite3";
import fc from "fast-check";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SnapshotFixture } from "./testing/snapshot-fixture.ts";

const MINUTE_MS = 60_000;
const NEVER = new AbortController().signal;
let fixture: SnapshotFixture;

beforeEach(() => {
  // Only the wall clock: workers and timers go on as ever.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.UTC(2026, 0, 1) });
  fixture = new SnapshotFixture();
});

afterEach(async () => {
  await fixture.close();
  vi.useRealTimers();
});

/** One file as EMCache's existing Go client keeps it (go-client-contract.md, "What the client does with a file"). */
class GoClientFile {
  readonly #database: Database.Database;

  constructor(path: string) {
    this.#database = new Database(path);
  }

  metadata(key: string): string {
    return String(this.#database.prepare("SELECT value FROM metadata WHERE key = ?").pluck().get(key));
  }

  apply(row: Pick<CacheRow, "operation" | "docId" | "data">): void {
    const table = this.metadata("mode") === "live" ? "data" : "data_sync";
    switch (row.operation) {
      case "upsert": {
        const [email] = JSON.parse(row.data ?? "[]") as [string];
        this.#database.prepare(`INSERT OR REPLACE INTO ${table} (id, email) VALUES (?, ?)`).run(row.docId, email);
        break;
      }
      case "delete":
        this.#database.prepare(`DELETE FROM ${table} WHERE id = ?`).run(row.docId);
        break;
      case "sync_start":
        this.#database.exec("DELETE FROM data_sync");
        this.#setMode("sync");
        break;
      case "sync_end":
        this.#database.exec("ALTER TABLE data RENAME TO data_temp");
        this.#database.exec("ALTER TABLE data_sync RENAME TO data");
        this.#database.exec("ALTER TABLE data_temp RENAME TO data_sync");
        this.#database.exec("DELETE FROM data_sync");
        this.#setMode("live");
        break;
    }
  }

  rows(): [string, string][] {
    return this.#database.prepare("SELECT id, email FROM data ORDER BY id").raw().all() as [string, string][];
  }

  close(): void {
    this.#database.close();
  }

  #setMode(mode: string): void {
    this.#database.prepare("UPDATE metadata SET value = ? WHERE key = 'mode'").run(mode);
  }
}

/** A collection, and what its stream and its copies put into the log. */
class Collection {
  readonly version: number;
  readonly documents = new Map<string, string>();
  /** Ids that the running copy has yet to read; null while none runs. */
  #toCopy: string[] | null = null;

  constructor(version: number, count: number) {
    this.version = version;
    for (let index = 0; index < count; index++) this.documents.set(`d${index}`, `first${index}`);
  }

  get isCopying(): boolean {
    return this.#toCopy !== null;
  }

  write(id: string, email: string | null): void {
    if (email === null) this.documents.delete(id);
    else this.documents.set(id, email);
    const data = email === null ? null : JSON.stringify([email]);
    fixture.apply(this.version, [
      { operation: email === null ? "delete" : "upsert", docId: id, idType: 2, origin: "stream", data },
    ]);
  }

  startCopy(): void {
    fixture.apply(this.version, [{ operation: "sync_start" }]);
    this.#toCopy = [...this.documents.keys()];
  }

  copyChunk(count: number): void {
    const ids = (this.#toCopy ?? []).splice(0, count).filter((id) => this.documents.has(id));
    const rows = ids.map((docId) => ({
      operation: "upsert" as const,
      docId,
      idType: 2,
      origin: "copy" as const,
      data: JSON.stringify([this.documents.get(docId)]),
    }));
    if (rows.length > 0) fixture.apply(this.version, rows);
  }

  endCopy(): void {
    this.copyChunk(Number.POSITIVE_INFINITY);
    fixture.apply(this.version, [{ operation: "sync_end" }]);
    this.#toCopy = null;
    fixture.records = fixture.records.map((record) =>
      record.entity.id === this.version ? { ...record, state: "live" } : record,
    );
  }

  expected(): [string, string][] {
    return [...this.documents].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

/** Does what the client does: all files, then the log from the smallest of their positions on. */
async function bootstrap(collections: readonly Collection[]): Promise<Map<number, GoClientFile>> {
  const manager = fixture.manager();
  await manager.start();
  const files = new Map<number, GoClientFile>();
  for (const { version } of collections) {
    const path = await manager.legacyFile(`entity${version}`, "identity", NEVER);
    const own = join(fixture.baseDir, `client-${version}.db`);
    copyFileSync(path, own);
    files.set(version, new GoClientFile(own));
  }
  return files;
}

function follow(files: ReadonlyMap<number, GoClientFile>): void {
  const from = Math.min(
    ...[...files.values()].map((file) => Number(file.metadata("max_oplog_id"))),
    fixture.log.length,
  );
  for (const row of fixture.log.slice(from)) files.get(row.version)?.apply(row);
}

function addCollection(version: number, count: number): Collection {
  fixture.add(version, `entity${version}`, "pending");
  return new Collection(version, count);
}

function expectEqual(collections: readonly Collection[], files: ReadonlyMap<number, GoClientFile>): void {
  for (const collection of collections) {
    const file = files.get(collection.version);
    expect(file?.metadata("mode")).toBe("live");
    expect(file?.rows()).toEqual(collection.expected());
    file?.close();
  }
}

test("two entities with staggered copies: a fresh switch doesn't take the client into the other's older copy", async () => {
  const [long, short] = [addCollection(1, 40), addCollection(2, 20)] as const;
  short.startCopy();
  short.copyChunk(10);
  long.startCopy();
  long.copyChunk(5);
  short.copyChunk(10);
  short.endCopy();
  short.write("d3", "changed");
  vi.setSystemTime(Date.now() + 60 * MINUTE_MS);
  long.endCopy();
  vi.setSystemTime(Date.now() + 5 * MINUTE_MS);
  const files = await bootstrap([long, short]);
  follow(files);
  expectEqual([long, short], files);
});

test("whatever copies and writes went before, and while the first copy runs", async () => {
  const step = fc.record({
    version: fc.constantFrom(1, 2, 3),
    action: fc.constantFrom("write", "write", "delete", "start", "chunk", "chunk", "end"),
    key: fc.integer({ min: 0, max: 12 }),
    minutes: fc.constantFrom(0, 0, 1, 11),
  });
  const run = async (before: { version: number; action: string; key: number; minutes: number }[]): Promise<void> => {
    await fixture.close();
    fixture = new SnapshotFixture();
    const collections = [1, 2, 3].map((version) => addCollection(version, 10));
    for (const [index, { version, action, key, minutes }] of before.entries()) {
      vi.setSystemTime(Date.now() + minutes * MINUTE_MS);
      const collection = collections[version - 1] as Collection;
      if (action === "write") collection.write(`d${key}`, `written${index}`);
      else if (action === "delete") collection.write(`d${key}`, null);
      else if (action === "start" && !collection.isCopying) collection.startCopy();
      else if (action === "chunk") collection.copyChunk(3);
      else if (action === "end" && collection.isCopying) collection.endCopy();
    }
    const files = await bootstrap(collections);
    for (const collection of collections) {
      collection.write("d1", "afterwards");
      if (!collection.isCopying && !fixture.isLive(collection.version)) collection.startCopy();
      if (collection.isCopying) collection.endCopy();
    }
    follow(files);
    expectEqual(collections, files);
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), run), {
    numRuns: 6,
    endOnFailure: true,
  });
}, 60_000);
