import { CacheFile, type CacheRow } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HealthRegistry } from "../../runtime/health-registry.ts";
import { createLogger } from "../../runtime/logger.ts";
import { untilAborted } from "../../runtime/until-aborted.ts";
import { SnapshotManager } from "../snapshot-manager.ts";
import type { SnapshotDependencies, SnapshotRegistry, SnapshotTimes } from "../snapshot-dependencies.ts";
import type { ListedRecord, SnapshotRecord, SnapshotStore } from "../snapshot-store-port.ts";

const LOG_ID = "0b0e7d3c-test";

/** The register of snapshots in memory; `isAway` is a PostgreSQL that can't be reached. */
export class MemorySnapshotStore implements SnapshotStore {
  readonly records = new Map<string, ListedRecord>();
  isAway = false;

  async insert(record: SnapshotRecord): Promise<void> {
    this.#require();
    if (this.records.has(record.manifest.id)) return;
    this.records.set(record.manifest.id, { ...record, isDeleted: false, silentS: 0 });
  }

  async list(entityName: string | null): Promise<ListedRecord[]> {
    this.#require();
    const found = [...this.records.values()].filter(
      ({ manifest }) => entityName === null || manifest.entity === entityName,
    );
    return found.sort((a, b) => b.manifest.position - a.manifest.position);
  }

  async setObjectKey(id: string, objectKey: string | null): Promise<void> {
    this.change(id, { objectKey });
  }

  async seen(holder: string, url: string): Promise<void> {
    for (const [id, record] of this.records) if (record.holder === holder) this.change(id, { url, silentS: 0 });
  }

  async markDeleted(id: string): Promise<void> {
    this.change(id, { isDeleted: true });
  }

  async remove(id: string): Promise<void> {
    this.#require();
    this.records.delete(id);
  }

  change(id: string, changes: Partial<ListedRecord>): void {
    this.#require();
    const record = this.records.get(id);
    if (record !== undefined) this.records.set(id, { ...record, ...changes });
  }

  #require(): void {
    if (this.isAway) throw new EmcacheError("postgres_unavailable", "PostgreSQL is away");
  }
}

type Registered = ReturnType<SnapshotRegistry["list"]>[number];

/** A manager over real cache files in a folder of its own, and a log kept in memory. */
export class SnapshotFixture {
  readonly baseDir = mkdtempSync(join(tmpdir(), "emcache-snapshot-"));
  readonly store = new MemorySnapshotStore();
  readonly caches = new Map<number, CacheFile>();
  readonly log: (CacheRow & { readonly version: number })[] = [];
  floor = 1;
  records: Registered[] = [];
  /** Replaced by one that is pending: a registry that has not read PostgreSQL yet. */
  registryLoaded: Promise<void> = Promise.resolve();
  readonly #listeners = new Set<() => void>();
  #managers: SnapshotManager[] = [];

  entity(id: number, name: string): Entity {
    return {
      id,
      name,
      client: "main",
      source: name,
      shape: {
        id_column: { path: "$._id", type: "string" },
        columns: [{ name: "email", type: "string", path: "$.email" }],
        indexes: [{ name: `${name}_email`, columns: ["email"] }],
      },
      created_at: "2026-01-01T00:00:00.000Z",
    };
  }

  /** Registers a version with an empty cache file. */
  add(id: number, name: string, state: "live" | "pending"): void {
    const entity = this.entity(id, name);
    this.records = [...this.records, { entity, state }];
    this.caches.set(id, CacheFile.open(join(this.baseDir, `${name}-${id}.db`), { entity, logId: LOG_ID }));
    this.changed();
  }

  isLive(version: number): boolean {
    return this.records.some(({ entity, state }) => entity.id === version && state === "live");
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Appends rows to the log and applies them to the version's cache; the others' positions move along. */
  apply(version: number, rows: readonly Partial<CacheRow>[]): number {
    const from = this.log.length;
    const full = rows.map((row, index): CacheRow => ({ ...EMPTY_ROW, ...row, position: from + index + 1 }));
    for (const row of full) this.log.push({ ...row, version });
    const position = this.log.length;
    for (const [id, cache] of this.caches) cache.apply(id === version ? full : [], { position, tag: tagOf(position) });
    return position;
  }

  /** A whole copy of `count` documents. */
  copy(version: number, count: number): number {
    return this.apply(version, [
      { operation: "sync_start", docId: "" },
      ...upserts(count, "copy"),
      { operation: "sync_end", docId: "" },
    ]);
  }

  manager(options: Partial<SnapshotDependencies> = {}): SnapshotManager {
    const logger = createLogger({ level: "silent", destination: { write: () => {} } });
    const manager = new SnapshotManager({
      baseDir: this.baseDir,
      checkIntervalMs: 3_600_000,
      minLag: 100,
      keepCount: 2,
      keepAgeMs: 0,
      schedule: null,
      restoreBytesMax: 1_000_000_000,
      holder: "here",
      advertiseUrl: null,
      objectStore: null,
      times: this.times,
      registry: this.registry(),
      caches: {
        statuses: () =>
          new Map([...this.caches].map(([id, { position, tag, dataState }]) => [id, { position, tag, dataState }])),
        pathOf: (version) => this.caches.get(version)?.path ?? null,
      },
      oplog: {
        batchAt: async (position) => (position < this.floor ? null : { tag: tagOf(position) }),
        head: async () => ({ logId: LOG_ID, floor: this.floor, head: this.log.length }),
        page: async ({ after, limit, versions }) => {
          if (after < this.floor - 1) throw new EmcacheError("position_too_old", `the log starts at ${this.floor}`);
          const rows = this.log
            .filter(({ position, version }) => position > after && versions.includes(version))
            .slice(0, limit);
          const isFull = rows.length === limit;
          const position = isFull ? (rows.at(-1)?.position ?? after) : this.log.length;
          return { logId: LOG_ID, rows, position, tag: tagOf(position), tagAtFrom: tagOf(after) };
        },
        latestSyncStart: async (version) => this.#latestCopy(version),
      },
      store: this.store,
      health: new HealthRegistry().component("snapshots"),
      logger,
      ...options,
    });
    this.#managers.push(manager);
    return manager;
  }

  /** Each position is a batch of the source `main`, one a second since 1970. */
  readonly times: SnapshotTimes = {
    timeAt: async (_source, position) => (position < this.floor ? null : BigInt(position) << 32n),
    lastPositionUntil: async (_source, timeS) => (timeS < this.floor ? null : Math.min(timeS, this.log.length)),
    nextPositionAfter: async (_source, position) => (position < this.log.length ? position + 1 : null),
    firstTime: async () => BigInt(this.floor) << 32n,
    capturedUntil: async () => BigInt(this.log.length + 1) << 32n,
  };

  #latestCopy(version: number): { position: number; complete: boolean } | null {
    const rows = this.log.filter((row) => row.version === version && row.position >= this.floor);
    const end = rows.findLast(({ operation }) => operation === "sync_end")?.position ?? 0;
    const complete = rows.findLast(({ operation, position }) => operation === "sync_start" && position < end);
    const start = complete ?? rows.findLast(({ operation }) => operation === "sync_start");
    return start === undefined ? null : { position: start.position, complete: complete !== undefined };
  }

  registry(): SnapshotRegistry {
    return {
      list: () => this.records,
      get: (name) => {
        const found = this.records.filter(({ entity }) => entity.name === name);
        if (found.length === 0) return null;
        const ofState = (state: string): Registered | null => found.find((record) => record.state === state) ?? null;
        return { live: ofState("live"), pending: ofState("pending") };
      },
      loaded: async (signal) => untilAborted(this.registryLoaded, signal),
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    };
  }

  async close(): Promise<void> {
    for (const manager of this.#managers) await manager.stop(AbortSignal.abort());
    for (const cache of this.caches.values()) cache.close();
    rmSync(this.baseDir, { recursive: true, force: true });
  }
}

function tagOf(position: number): string {
  return position === 0 ? "" : `tag-${position}`;
}

const EMPTY_ROW: CacheRow = {
  position: 0,
  operation: "upsert",
  docId: "",
  idType: 0,
  origin: "copy",
  transaction: null,
  transactionEnd: false,
  data: null,
};

/** Upserts of documents `d0`, `d1`, … */
export function upserts(count: number, origin: "copy" | "stream", first = 0): Partial<CacheRow>[] {
  return Array.from({ length: count }, (_, index) => ({
    operation: "upsert" as const,
    docId: `d${first + index}`,
    idType: 2,
    origin,
    data: JSON.stringify([`mail${first + index}@example.com`]),
  }));
}
