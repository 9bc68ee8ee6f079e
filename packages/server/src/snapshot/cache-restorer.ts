import type { SnapshotManifest } from "@emcache/protocol";
import { constants } from "node:fs";
import { copyFile, rm } from "node:fs/promises";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { SnapshotOplog, SnapshotRegistry } from "./snapshot-dependencies.ts";

/** What it works with. */
export interface CacheRestorerParts {
  readonly snapshots: {
    /** The newest verified snapshot of an entity's live version on this machine. */
    newest(entityName: string): Promise<{ readonly manifest: SnapshotManifest; readonly path: string } | null>;
  };
  readonly registry: Pick<SnapshotRegistry, "list">;
  readonly oplog: Pick<SnapshotOplog, "head">;
  readonly caches: {
    /** Where the file that is to take a cache's place is put; null where this process has no such cache. */
    restoringPathOf(version: number): string | null;
    /** That file is there. */
    restored(version: number): void;
  };
  readonly logger: Logger;
}

/**
 * Fills a cache that the log can't fill (its file was damaged, or was away for too long) from this machine's newest
 * snapshot, which is a cache file that goes on from its position: gentler than a new copy of the collection, and there
 * at once.
 */
export class CacheRestorer {
  readonly #parts: CacheRestorerParts;
  /** The snapshot that each version was last restored from: one that did not do is not tried again. */
  readonly #tried = new Map<number, string>();

  constructor(parts: CacheRestorerParts) {
    this.#parts = parts;
  }

  /** Whether there is such a snapshot and it takes the cache's place now. Never throws. */
  async restore(version: number): Promise<boolean> {
    const { caches, logger } = this.#parts;
    const path = caches.restoringPathOf(version);
    if (path === null) return false;
    try {
      const snapshot = await this.#usableSnapshot(version);
      if (snapshot === null) return false;
      const { id, entity, position } = snapshot.manifest;
      this.#tried.set(version, id);
      // Where the file system can, the two share their blocks.
      await copyFile(snapshot.path, path, constants.COPYFILE_FICLONE);
      caches.restored(version);
      logger.info(
        { event: "cache_restored", entity, version, snapshot: id, position },
        "a cache is filled from a snapshot",
      );
      return true;
    } catch (error) {
      logger.warn({ event: "cache_not_restored", version, reason: messageOf(error) }, "the snapshot was of no use");
      await rm(path, { force: true }).catch(() => undefined);
      return false;
    }
  }

  async #usableSnapshot(version: number): Promise<{ manifest: SnapshotManifest; path: string } | null> {
    const { snapshots, registry, oplog } = this.#parts;
    const record = registry.list().find(({ entity, state }) => entity.id === version && state === "live");
    if (record === undefined) return null;
    const newest = await snapshots.newest(record.entity.name);
    if (newest === null || newest.manifest.id === this.#tried.get(version)) return null;
    const { logId, floor } = await oplog.head();
    const { log_id: itsLog, position } = newest.manifest;
    return itsLog === logId && position >= floor - 1 ? newest : null;
  }
}
