import type { CacheRow, DataState } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import type { Clock } from "../runtime/clock.ts";
import type { ComponentHealth } from "../runtime/component-health.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Tracer } from "../runtime/tracer.ts";
import type { ObjectStore } from "./object-store.ts";
import type { SnapshotStore } from "./snapshot-store-port.ts";

/** One version of an entity and what it is now. */
interface RegisteredEntity {
  readonly entity: Entity;
  readonly state: "pending" | "live" | "retired";
}

/** Which entities there are. */
export interface SnapshotRegistry {
  list(): readonly RegisteredEntity[];
  get(name: string): { readonly live: RegisteredEntity | null; readonly pending: RegisteredEntity | null } | null;
  onChange(listener: () => void): () => void;
  /** Resolves once PostgreSQL was read; until then the list is empty because nothing is known. */
  loaded(signal: AbortSignal): Promise<void>;
}

/** The cache files that snapshots are made of. */
export interface SnapshotCaches {
  statuses(): ReadonlyMap<number, { readonly position: number; readonly tag?: string; readonly dataState: DataState }>;
  /** Null where this process has no cache of the version. */
  pathOf(version: number): string | null;
}

/** A stretch of the log. */
export interface SnapshotPage {
  readonly logId: string;
  readonly rows: readonly (CacheRow & { readonly version: number })[];
  /** Scanned through, inclusive. */
  readonly position: number;
  readonly tag: string;
  /** Tag of the batch that holds the position that was asked for; null where the log doesn't know it. */
  readonly tagAtFrom: string | null;
}

/** The oplog: read to see how much is new since the last snapshot, and to go on from one to a later point. */
export interface SnapshotOplog {
  head(): Promise<{ readonly logId: string; readonly floor: number; readonly head: number }>;
  page(request: {
    readonly after: number;
    readonly limit: number;
    readonly versions: number[];
    readonly signal: AbortSignal;
  }): Promise<SnapshotPage>;
  /** The batch that holds a position; null where the log holds no such position. */
  batchAt(position: number, signal: AbortSignal): Promise<{ readonly tag: string } | null>;
  /** The `sync_start` of a version's newest copy that the log holds. */
  latestSyncStart(
    version: number,
    signal: AbortSignal,
  ): Promise<{ readonly position: number; readonly complete: boolean } | null>;
}

/** Relates positions to cluster times of a source (BSON timestamps as unsigned 64-bit numbers). */
export interface SnapshotTimes {
  /** Of the source's last batch that begins at or before a position. */
  timeAt(source: string, position: number, signal: AbortSignal): Promise<bigint | null>;
  /** Last position of the source's last batch that is not after a second since 1970. */
  lastPositionUntil(source: string, timeS: number, signal: AbortSignal): Promise<number | null>;
  /** First position of the source's first batch after a position. */
  nextPositionAfter(source: string, position: number, signal: AbortSignal): Promise<number | null>;
  /** Of the source's first batch that the log holds. */
  firstTime(source: string, signal: AbortSignal): Promise<bigint | null>;
  /** Until when nothing of the source is missing from the log. */
  capturedUntil(source: string, signal: AbortSignal): Promise<bigint | null>;
}

/** What the snapshot manager works with. */
export interface SnapshotDependencies {
  /** `cache.base_dir`; snapshots lie in its folder `snapshots`. */
  readonly baseDir: string;
  readonly checkIntervalMs: number;
  /** Entries of an entity since its last snapshot that make a new one due. */
  readonly minLag: number;
  /** Snapshots kept of each entity, whatever their age. */
  readonly keepCount: number;
  /** See `snapshotsToRemove`. */
  readonly keepAgeMs: number;
  /** Cron expression in UTC; null: none. */
  readonly schedule: string | null;
  /** Bound on the files that are made for single requests. */
  readonly restoreBytesMax: number;
  /** Names this process's directory in the register. */
  readonly holder: string;
  /** This process's API as others reach it; null where they don't. */
  readonly advertiseUrl: string | null;
  readonly registry: SnapshotRegistry;
  readonly caches: SnapshotCaches;
  readonly oplog: SnapshotOplog;
  readonly times: SnapshotTimes;
  readonly store: SnapshotStore;
  /** Null: snapshots lie on this machine only. */
  readonly objectStore: ObjectStore | null;
  readonly health: ComponentHealth;
  /** Takes the time of builds. */
  readonly tracer?: Tracer | null;
  readonly logger: Logger;
  readonly clock?: Clock;
}
