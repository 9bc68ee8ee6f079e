import type { Entity } from "@emcache/protocol";
import { existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import type { ObjectShelf } from "./object-shelf.ts";
import type { SnapshotOplog, SnapshotRegistry } from "./snapshot-dependencies.ts";
import type { SnapshotRegister } from "./snapshot-register.ts";

/** What it works with. */
export interface CacheBootstrapParts {
  readonly objects: ObjectShelf;
  readonly register: SnapshotRegister;
  readonly registry: SnapshotRegistry;
  readonly oplog: Pick<SnapshotOplog, "head">;
  /** Where the cache file of an entity version lies. */
  readonly cachePathOf: (entity: Entity) => string;
  readonly logger: Logger;
}

/**
 * Gives a machine with an empty disk its caches out of object storage, before the replicator opens them: a snapshot is
 * a cache file, which goes on from its position. Without it a cache is filled from the log, or by a new copy where the
 * log no longer holds the last one's begin.
 */
export async function bootstrapCaches(parts: CacheBootstrapParts, signal: AbortSignal): Promise<void> {
  const { registry, oplog, cachePathOf, logger } = parts;
  await registry.loaded(signal);
  const missing = registry
    .list()
    .filter(({ entity, state }) => state === "live" && !existsSync(cachePathOf(entity)))
    .map(({ entity }) => entity);
  if (missing.length === 0) return;
  const log = await oplog.head();
  for (const entity of missing) {
    try {
      await bootstrapCache(parts, entity, log, signal);
    } catch (error) {
      signal.throwIfAborted();
      logger.warn(
        { event: "cache_not_fetched", entity: entity.name, reason: messageOf(error) },
        "a cache can't be fetched from object storage; it is filled from the log",
      );
    }
  }
}

async function bootstrapCache(
  { objects, register, cachePathOf, logger }: CacheBootstrapParts,
  entity: Entity,
  { logId, floor }: { readonly logId: string; readonly floor: number },
  signal: AbortSignal,
): Promise<void> {
  const records = await register.elsewhere(entity.name, signal);
  const newest = records.find(
    ({ manifest, objectKey }) =>
      objectKey !== null &&
      manifest.version === entity.id &&
      manifest.log_id === logId &&
      manifest.position >= floor - 1,
  );
  if (newest === undefined || newest.objectKey === null) return;
  const path = cachePathOf(entity);
  const fetching = `${path}.fetching`;
  await rm(fetching, { force: true });
  await objects.fetch(newest.objectKey, newest.manifest, fetching, signal);
  await rename(fetching, path);
  const { id, position, rows } = newest.manifest;
  logger.info(
    { event: "cache_fetched", entity: entity.name, snapshot: id, position, rows },
    "fetched a cache from object storage",
  );
}
