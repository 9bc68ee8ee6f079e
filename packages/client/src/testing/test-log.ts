import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { buildSnapshot, CacheFile, type CacheRow } from "@emcache/cache-file";
import type { Entity, Shape } from "@emcache/protocol";

/** One row of the log, with its version. */
export interface TestRow extends CacheRow {
  readonly version: number;
  readonly tag: string;
}

/** What is to be appended; everything but the operation has a default. */
export interface TestAppend {
  readonly operation?: CacheRow["operation"];
  readonly docId?: string;
  readonly data?: string | null;
  readonly origin?: CacheRow["origin"];
  readonly transaction?: string | null;
  readonly transactionEnd?: boolean;
}

export interface TestSnapshot {
  readonly entity: Entity;
  readonly logId: string;
  readonly position: number;
  readonly tag: string;
  readonly sha256: string;
  readonly file: Buffer;
  readonly zstd: Buffer;
}

export const SHAPE: Shape = {
  id_column: { path: "$._id", type: "string" },
  columns: [
    { name: "email", type: "string", path: "$.email" },
    { name: "age", type: "integer", path: "$.age" },
  ],
  indexes: [{ name: "email_idx", columns: ["email"] }],
};

/** A log in memory, with entities whose snapshots are built as the server builds them. Each row is a batch of its own. */
export class TestLog {
  logId = randomBytes(8).toString("hex");
  rows: TestRow[] = [];
  floor = 1;
  /** The served version of each entity, by name. */
  readonly entities = new Map<string, Entity>();
  readonly states = new Map<number, "live" | "pending" | "retired">();
  readonly snapshots = new Map<number, TestSnapshot>();
  /** Called after each append and each change of a version. */
  readonly listeners = new Set<() => void>();
  #versions = 0;

  get head(): number {
    return this.rows.length;
  }

  tagAt(position: number): string | null {
    return position === 0 ? "" : (this.rows[position - 1]?.tag ?? null);
  }

  /** A new entity, or a new version of one, with its first copy in the log. */
  define(name: string, rows: Readonly<Record<string, string>> = {}, shape: Shape = SHAPE): Entity {
    const previous = this.entities.get(name);
    const id = (this.#versions += 1);
    const entity = { id, name, client: "main", source: name, shape, created_at: "2026-01-02T03:04:05Z" };
    this.states.set(id, "live");
    this.entities.set(name, entity);
    this.append(entity, { operation: "sync_start" });
    for (const [docId, data] of Object.entries(rows)) this.append(entity, { docId, data, origin: "copy" });
    this.append(entity, { operation: "sync_end" });
    if (previous !== undefined) this.states.set(previous.id, "retired");
    this.#changed();
    return entity;
  }

  append(entity: Entity | string, row: TestAppend): number {
    const { id } = typeof entity === "string" ? (this.entities.get(entity) as Entity) : entity;
    const operation = row.operation ?? "upsert";
    const isBracket = operation === "sync_start" || operation === "sync_end";
    this.rows.push({
      version: id,
      position: this.head + 1,
      operation,
      docId: row.docId ?? "",
      idType: isBracket ? 0 : 2,
      origin: isBracket ? "copy" : (row.origin ?? "stream"),
      transaction: row.transaction ?? null,
      transactionEnd: row.transactionEnd ?? false,
      data: operation === "upsert" ? (row.data ?? '["x",1]') : null,
      tag: randomBytes(4).toString("hex"),
    });
    this.#changed();
    return this.head;
  }

  /** Makes a snapshot of an entity's version, as of now. */
  snapshot(name: string): TestSnapshot {
    const entity = this.entities.get(name) as Entity;
    const folder = mkdtempSync(join(tmpdir(), "emcache-snapshot-"));
    try {
      const cache = CacheFile.open(join(folder, "cache.db"), { entity, logId: this.logId });
      const tag = this.tagAt(this.head) ?? "";
      cache.apply(
        this.rows.filter(({ version }) => version === entity.id),
        { position: this.head, tag },
      );
      cache.close();
      buildSnapshot(cache.path, join(folder, "snapshot.db"));
      const file = readFileSync(join(folder, "snapshot.db"));
      const sha256 = createHash("sha256").update(file).digest("hex");
      const snapshot = {
        entity,
        logId: this.logId,
        position: this.head,
        tag,
        sha256,
        file,
        zstd: zstdCompressSync(file),
      };
      this.snapshots.set(entity.id, snapshot);
      return snapshot;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Another deployment, or a restored backup: the last rows never were, and others take their places. */
  rewrite(keep: number): void {
    this.rows = this.rows.slice(0, keep);
    this.snapshots.clear();
    this.#changed();
  }

  /** Rows by id, as a cache of the entity that is at a position (default: the head) should have them. */
  expected(name: string, until = this.head): Map<string, string> {
    const { id } = this.entities.get(name) as Entity;
    let served = new Map<string, string>();
    let copied: Map<string, string> | null = null;
    for (const row of this.rows.slice(0, until).filter(({ version }) => version === id)) {
      if (row.operation === "sync_start") copied = new Map();
      if (row.operation === "sync_end" && copied !== null) [served, copied] = [copied, null];
      for (const table of row.origin === "copy" ? [copied] : [served, copied]) {
        if (row.operation === "upsert") table?.set(row.docId, row.data ?? "");
        if (row.operation === "delete") table?.delete(row.docId);
      }
    }
    return served;
  }

  #changed(): void {
    for (const listener of this.listeners) listener();
  }
}
