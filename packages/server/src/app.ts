import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { EmcacheError } from "@emcache/protocol";
import type { CapturesPort } from "./api/api-dependencies.ts";
import { ApiServer } from "./api/api-server.ts";
import { CacheClaims } from "./cache/cache-claims.ts";
import { Replicator } from "./cache/replicator.ts";
import type { Config, SourceConfig } from "./config/config.ts";
import { EMBEDDED } from "./config/option-table.ts";
import { EntityRegistry } from "./entity/entity-registry.ts";
import { validateEntity } from "./entity/validate-entity.ts";
import { ClaimStore } from "./oplog/claim-store.ts";
import { CommitSignal } from "./oplog/commit-signal.ts";
import { OplogReader } from "./oplog/oplog-reader.ts";
import { PostgresEntityStore } from "./oplog/postgres-entity-store.ts";
import { Postgres } from "./oplog/postgres.ts";
import { RejectStore } from "./oplog/reject-store.ts";
import { Retention } from "./oplog/retention.ts";
import { PostgresSnapshotStore } from "./oplog/snapshot-store.ts";
import { SourceLease } from "./oplog/source-lease.ts";
import { ByteBudget } from "./runtime/byte-budget.ts";
import { messageOf } from "./runtime/error-message.ts";
import { HealthRegistry } from "./runtime/health-registry.ts";
import { type Logger, moduleLogger } from "./runtime/logger.ts";
import type { Service } from "./runtime/service.ts";
import { ServiceStack } from "./runtime/service-stack.ts";
import { SnapshotManager } from "./snapshot/snapshot-manager.ts";
import { SourceService } from "./source/source-service.ts";

/** The whole program as one service. */
export interface App extends Service {
  /** Where the API listens, as a URL; null where this process has no API or does not listen. */
  address(): string | null;
}

/** A stream may always use this part of the capture's memory, whatever the copies hold (invariant 10). */
const STREAM_RESERVE = 0.25;

/**
 * Puts the parts together. Reading downwards is the way of the data, and the order in which the parts start; they
 * stop in reverse, so that nothing is stopped that another part still needs.
 */
export function createApp(config: Config, options: { readonly logger: Logger }): App {
  const { logger } = options;
  const health = new HealthRegistry();
  const stack = new ServiceStack(logger);
  const add = <S extends Service>(service: S): S => {
    stack.add(service);
    return service;
  };
  const has = new Set(config.roles);
  const oplogLogger = moduleLogger(logger, "oplog");

  const postgres = add(
    new Postgres({ ...config.database.postgres, dataDir: config.dataDir, logger: oplogLogger, health: health.component("postgres") }),
  );
  const { pool } = postgres;
  const commitSignal = add(new CommitSignal({ postgres, logger: oplogLogger }));
  const registry = add(
    new EntityRegistry({
      store: new PostgresEntityStore({ pool, onChange: () => commitSignal.registryChanged() }),
      refreshIntervalMs: config.cache.entityRefreshIntervalS * 1000,
      logger: moduleLogger(logger, "entity"),
      health: health.component("registry"),
    }),
  );
  commitSignal.onRegistryChange(() => void registry.refresh().catch(() => "the poll sees it"));
  const rejects = new RejectStore(pool);
  const oplog = new OplogReader(pool);
  add(
    new Retention({ pool, ...config.retention, logger: oplogLogger, health: health.component("retention") }),
  );

  const sources = new Map<string, SourceService>();
  const replicator = new Replicator({
    connection: { ...postgres.connection },
    baseDir: config.cache.baseDir,
    replicationIntervalS: config.cache.replicationIntervalS,
    onNeedsCopy: (version, reason) => {
      logger.warn({ event: "cache_needs_copy", version, reason }, "a cache can't be built from the log; copying anew");
      for (const source of sources.values()) source.requestCopy(version);
    },
    onRejects: (found) =>
      void rejects
        .add(found.map((reject) => ({ ...reject, column: null, sample: "" })))
        .catch((error: unknown) => logger.error({ event: "rejects_not_stored", reason: messageOf(error) }, "rejects not stored")),
    logger: moduleLogger(logger, "cache"),
    health: health.component("replicator"),
  });
  const holder = holderName(config.cache.baseDir);
  if (has.has("replicate")) {
    add(replicator);
    registry.onChange(() => replicator.setEntities(registry.list()));
    commitSignal.onCommit(() => replicator.wake());
    add(
      new CacheClaims({
        name: holder,
        statuses: () => replicator.statuses(),
        store: new ClaimStore(pool),
        logger: moduleLogger(logger, "cache"),
      }),
    );
  }

  if (has.has("capture")) {
    const bytesMax = config.memory.captureBytesMax;
    const budget = new ByteBudget({ bytesMax, reservedBytes: Math.floor(bytesMax * STREAM_RESERVE) });
    for (const [sourceName, source] of Object.entries(config.sources)) {
      sources.set(
        sourceName,
        add(
          new SourceService({
            mongo: { sourceName, ...reachable(sourceName, source) },
            takeTurn: async (signal) => {
              await registry.loaded(signal);
              const lease = await SourceLease.acquire(
                {
                  postgres,
                  sourceName,
                  logger: moduleLogger(logger, "source"),
                  onCommit: (head) => commitSignal.committed(head),
                  onRegistryChange: () => commitSignal.registryChanged(),
                },
                signal,
              );
              return { log: lease.log(), lost: lease.lost, release: () => lease.release() };
            },
            entities: {
              list: () => registry.list().map(({ entity }) => entity).filter(({ client }) => client === sourceName),
              onChange: (listener) => registry.onChange(listener),
            },
            budget,
            copySettings: config.copy,
            health: health.component(`source.${sourceName}`),
            logger: moduleLogger(logger, "source"),
            onAppended: (batch, appended) => logger.trace({ event: "appended", ...appended, rejects: batch.rejects.length }, "appended"),
          }),
        ),
      );
    }
  }

  const snapshots = add(
    new SnapshotManager({
      baseDir: config.cache.baseDir,
      checkIntervalMs: config.snapshot.checkIntervalS * 1000,
      minLag: config.snapshot.minLag,
      keepCount: config.snapshot.keepCount,
      holder,
      registry,
      caches: replicator,
      oplog,
      store: new PostgresSnapshotStore(pool),
      health: health.component("snapshots"),
      logger: moduleLogger(logger, "snapshot"),
    }),
  );

  const api = new ApiServer({
    host: config.server.host,
    port: config.server.port,
    logger: moduleLogger(logger, "api"),
    sourceNames: Object.keys(config.sources),
    registry,
    oplog,
    caches: replicator,
    rejects,
    captures: capturesOf(sources, health),
    snapshots,
    health,
    validateEntity,
  });
  if (has.has("api")) add(api);

  return {
    name: "emcache",
    start: () => stack.start(),
    stop: (signal) => stack.stop(signal),
    address: () => api.address(),
  };
}

/** What the API shows of the capture. */
function capturesOf(sources: ReadonlyMap<string, SourceService>, health: HealthRegistry): CapturesPort {
  return {
    captureStatus: (sourceName) => {
      const source = sources.get(sourceName);
      if (source === undefined) return null;
      const { status, reason, code, hint } = health.component(`source.${sourceName}`).state();
      const error = status === "degraded" ? { code: code ?? "internal", detail: reason ?? "", hint: hint ?? "" } : null;
      return { lagMs: source.status().lagMs, error };
    },
    copyProgress: (version) => {
      for (const source of sources.values()) {
        const copy = source.status().copies.get(version);
        if (copy?.state === "running") return copy;
      }
      return null;
    },
  };
}

/** @throws config_invalid for the embedded source, which has no server yet. */
function reachable(sourceName: string, source: SourceConfig): SourceConfig {
  if (source.uri !== EMBEDDED) return source;
  throw new EmcacheError("config_invalid", `sources.${sourceName}.uri: "embedded" is not available in this version`, {
    errors: [`sources.${sourceName}.uri: give the URI of a MongoDB replica set, mongodb://host:27017/database?replicaSet=name`],
  });
}

/** Names this process's cache directory among all processes on this PostgreSQL; the same after a restart. */
function holderName(baseDir: string): string {
  return `${hostname()}:${createHash("sha256").update(baseDir).digest("hex").slice(0, 12)}`;
}
