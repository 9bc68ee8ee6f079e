import type { DataState } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import type { Clock } from "../runtime/clock.ts";
import type { ComponentHealth } from "../runtime/component-health.ts";
import type { Logger } from "../runtime/logger.ts";
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
  statuses(): ReadonlyMap<number, { readonly position: number; readonly dataState: DataState }>;
  /** Null where this process has no cache of the version. */
  pathOf(version: number): string | null;
}

/** The oplog, read to see how much is new since the last snapshot. */
export interface SnapshotOplog {
  head(): Promise<{ readonly floor: number; readonly head: number }>;
  page(request: {
    readonly after: number;
    readonly limit: number;
    readonly versions: number[];
    readonly signal: AbortSignal;
  }): Promise<{ readonly rows: readonly unknown[]; readonly position: number; readonly head: number }>;
  /** The batch that holds a position; null where the log holds no such position. */
  batchAt(
    position: number,
    signal: AbortSignal,
  ): Promise<{ readonly source: string; readonly clusterTime: bigint | null } | null>;
}

/** What the snapshot manager works with. */
export interface SnapshotDependencies {
  /** `cache.base_dir`; snapshots lie in its folder `snapshots`. */
  readonly baseDir: string;
  readonly checkIntervalMs: number;
  /** Entries of an entity since its last snapshot that make a new one due. */
  readonly minLag: number;
  /** Snapshots kept of each entity. */
  readonly keepCount: number;
  /** Names this process's directory in the register. */
  readonly holder: string;
  readonly registry: SnapshotRegistry;
  readonly caches: SnapshotCaches;
  readonly oplog: SnapshotOplog;
  readonly store: SnapshotStore;
  readonly health: ComponentHealth;
  readonly logger: Logger;
  readonly clock?: Clock;
}
