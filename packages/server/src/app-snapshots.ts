import { CacheDirectory } from "./cache/cache-directory.ts";
import type { Replicator } from "./cache/replicator.ts";
import type { Config } from "./config/config.ts";
import type { EntityRegistry } from "./entity/entity-registry.ts";
import { BatchTimes } from "./oplog/batch-times.ts";
import type { OplogReader } from "./oplog/oplog-reader.ts";
import type { Postgres } from "./oplog/postgres.ts";
import { PostgresSnapshotStore } from "./oplog/snapshot-store.ts";
import type { HealthRegistry } from "./runtime/health-registry.ts";
import { type Logger, moduleLogger } from "./runtime/logger.ts";
import type { Tracer } from "./runtime/tracer.ts";
import { CacheRestorer } from "./snapshot/cache-restorer.ts";
import { ReplicatedEntities } from "./snapshot/replicated-entities.ts";
import { S3ObjectStore } from "./snapshot/s3-object-store.ts";
import { SnapshotManager } from "./snapshot/snapshot-manager.ts";

interface ReplicatedEntitiesParts {
  readonly logger: Logger;
  readonly registry: EntityRegistry;
  readonly replicator: Replicator;
  readonly snapshots: SnapshotManager;
}

/** Where there is object storage, caches that are missing here are fetched from it first. */
export function replicatedEntities(config: Config, parts: ReplicatedEntitiesParts): ReplicatedEntities {
  const { logger, registry, replicator, snapshots } = parts;
  const directory = new CacheDirectory(config.cache.baseDir);
  return new ReplicatedEntities({
    onChange: (listener) => registry.onChange(listener),
    replicate: () => replicator.setEntities(registry.list()),
    prepare:
      config.snapshot.store === null
        ? null
        : async (signal) => {
            directory.create();
            await snapshots.bootstrapCaches((entity) => directory.pathOf(entity), signal);
          },
    logger: moduleLogger(logger, "snapshot"),
  });
}

interface CacheRestorerParts extends ReplicatedEntitiesParts {
  readonly oplog: OplogReader;
}

/** Fills caches that the log can't fill. */
export function cacheRestorer({ logger, replicator, ...parts }: CacheRestorerParts): CacheRestorer {
  return new CacheRestorer({ ...parts, caches: replicator, logger: moduleLogger(logger, "snapshot") });
}

interface SnapshotManagerParts {
  readonly logger: Logger;
  readonly health: HealthRegistry;
  readonly registry: EntityRegistry;
  readonly oplog: OplogReader;
  readonly pool: Postgres["pool"];
  readonly holder: string;
  readonly replicator: Replicator;
  readonly tracer: Tracer | null;
}

/** The snapshots of this process. */
export function snapshotsOf(config: Config, parts: SnapshotManagerParts): SnapshotManager {
  const { logger, health, registry, oplog, pool, holder, replicator, tracer } = parts;
  const { checkIntervalS, minLag, keepCount, keepAgeS, schedule, restoreBytesMax, store } = config.snapshot;
  return new SnapshotManager({
    baseDir: config.cache.baseDir,
    checkIntervalMs: checkIntervalS * 1000,
    minLag,
    keepCount,
    keepAgeMs: keepAgeS * 1000,
    schedule,
    restoreBytesMax,
    holder,
    advertiseUrl: config.server.advertiseUrl,
    registry,
    caches: replicator,
    oplog,
    times: new BatchTimes(pool),
    store: new PostgresSnapshotStore(pool),
    objectStore: store === null ? null : new S3ObjectStore(store),
    health: health.component("snapshots"),
    tracer,
    logger: moduleLogger(logger, "snapshot"),
  });
}
