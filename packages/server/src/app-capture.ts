import type { Entity } from "@emcache/protocol";
import type { CapturesPort } from "./api/api-dependencies.ts";
import type { Replicator } from "./cache/replicator.ts";
import type { Config, SourceConfig } from "./config/config.ts";
import { EMBEDDED } from "./config/option-table.ts";
import type { EntityRegistry } from "./entity/entity-registry.ts";
import type { Metrics } from "./metrics/metrics.ts";
import type { CommitSignal } from "./oplog/commit-signal.ts";
import type { CommittedBatch } from "./oplog/committed-batch.ts";
import { CopyRequestStore } from "./oplog/copy-request-store.ts";
import type { PageHub } from "./oplog/page-hub.ts";
import type { Postgres } from "./oplog/postgres.ts";
import { SourceLease } from "./oplog/source-lease.ts";
import type { StreamRequestStore } from "./oplog/stream-request-store.ts";
import { ByteBudget } from "./runtime/byte-budget.ts";
import type { HealthRegistry } from "./runtime/health-registry.ts";
import { type Logger, moduleLogger } from "./runtime/logger.ts";
import type { Tracer } from "./runtime/tracer.ts";
import type { EmbeddedSource } from "./source/embedded-source.ts";
import type { MongoSourceOptions } from "./source/mongo-source.ts";
import { type CaptureTurn, SourceService } from "./source/source-service.ts";

/** A stream may always use this part of the capture's memory, whatever the copies hold (invariant 10). */
const STREAM_RESERVE = 0.25;

/** What captures are made of. */
export interface CaptureParts {
  readonly logger: Logger;
  readonly health: HealthRegistry;
  readonly postgres: Postgres;
  readonly commitSignal: CommitSignal;
  readonly registry: EntityRegistry;
  readonly replicator: Replicator;
  readonly hub: PageHub;
  readonly streamRequests: StreamRequestStore;
  readonly embedded: EmbeddedSource | null;
  readonly metrics: Metrics;
  readonly tracer: Tracer | null;
}

/**
 * One capture a source; they share the process's memory for what is on its way into the log. None where this process
 * doesn't capture.
 */
export function captureServices(config: Config, parts: CaptureParts): SourceService[] {
  const { health, postgres, commitSignal, registry, replicator, hub, metrics, tracer } = parts;
  if (!config.roles.includes("capture")) return [];
  const logger = moduleLogger(parts.logger, "source");
  const bytesMax = config.memory.captureBytesMax;
  const budget = new ByteBudget({ bytesMax, reservedBytes: Math.floor(bytesMax * STREAM_RESERVE) });
  metrics.addQueue("capture", () => ({ bytes: budget.usedBytes, bytesMax }));
  return Object.entries(config.sources).map(([sourceName, source]) => {
    const takeTurn = async (signal: AbortSignal): Promise<CaptureTurn> => {
      // An entity that is not known yet must not look like one that is gone.
      await registry.loaded(signal);
      const onCommit = (head: number, batch: CommittedBatch | null): void => {
        if (batch !== null) {
          replicator.hand(batch);
          hub.hand(batch);
        }
        commitSignal.committed(head);
      };
      const onRegistryChange = (): void => commitSignal.registryChanged();
      const lease = await SourceLease.acquire({ postgres, sourceName, logger, onCommit, onRegistryChange }, signal);
      return { log: lease.log(), lost: lease.lost, release: () => lease.release() };
    };
    return new SourceService({
      mongo: mongoOptions(sourceName, source, parts.embedded),
      takeTurn,
      entities: {
        list: () => entitiesOf(registry, sourceName),
        onChange: (listener) => registry.onChange(listener),
      },
      copyRequests: new CopyRequestStore(postgres.pool),
      streamRequests: parts.streamRequests,
      budget,
      copySettings: config.copy,
      health: health.component(`source.${sourceName}`),
      tracer,
      onAppended: (batch, appended, sourceTimeMs) => metrics.observeAppend(sourceName, batch, appended, sourceTimeMs),
      logger,
    });
  });
}

function entitiesOf(registry: EntityRegistry, sourceName: string): Entity[] {
  return registry
    .list()
    .map(({ entity }) => entity)
    .filter(({ client }) => client === sourceName);
}

/** What the API shows of the capture. */
export function capturesOf(sources: readonly SourceService[], health: HealthRegistry): CapturesPort {
  return {
    captureStatus: (sourceName) => {
      const source = sources.find((candidate) => candidate.sourceName === sourceName);
      if (source === undefined) return null;
      const { status, reason, code, hint } = health.component(`source.${sourceName}`).state();
      const error = status === "degraded" ? { code: code ?? "internal", detail: reason ?? "", hint: hint ?? "" } : null;
      return { lagMs: source.status().lagMs, error };
    },
    copyProgress: (version) => {
      for (const source of sources) {
        const copy = source.status().copies.get(version);
        if (copy?.state === "running") return copy;
      }
      return null;
    },
  };
}

/** Where the capture connects; the embedded source's place is known once it has started. */
export function mongoOptions(
  sourceName: string,
  source: SourceConfig,
  embedded: EmbeddedSource | null,
): MongoSourceOptions {
  const { uri, database, fullDocument } = source;
  return {
    sourceName,
    database,
    fullDocument,
    get uri() {
      return uri === EMBEDDED && embedded !== null ? embedded.uri : uri;
    },
  };
}
