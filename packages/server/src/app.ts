import { createHash } from "node:crypto";
import { hostname } from "node:os";
import type { Entity } from "@emcache/protocol";
import type { CapturesPort } from "./api/api-dependencies.ts";
import { ApiServer } from "./api/api-server.ts";
import { cachedDefinitions } from "./cache/cached-definitions.ts";
import { CacheClaims } from "./cache/cache-claims.ts";
import { Replicator } from "./cache/replicator.ts";
import type { Config, SourceConfig } from "./config/config.ts";
import { EMBEDDED } from "./config/option-table.ts";
import { cacheRestorer, replicatedEntities, snapshotsOf } from "./app-snapshots.ts";
import { DashboardFiles } from "./dashboard/dashboard-files.ts";
import { EntityRegistry } from "./entity/entity-registry.ts";
import { validateEntity } from "./entity/validate-entity.ts";
import { ClaimStore } from "./oplog/claim-store.ts";
import { CommitSignal } from "./oplog/commit-signal.ts";
import type { CommittedBatch } from "./oplog/committed-batch.ts";
import { ConsumerClaims } from "./oplog/consumer-claims.ts";
import { CopyControlStore } from "./oplog/copy-control-store.ts";
import { CopyRequestStore } from "./oplog/copy-request-store.ts";
import { OplogReader } from "./oplog/oplog-reader.ts";
import { PageHub } from "./oplog/page-hub.ts";
import { PostgresEntityStore } from "./oplog/postgres-entity-store.ts";
import { Postgres } from "./oplog/postgres.ts";
import { RejectStore } from "./oplog/reject-store.ts";
import { Retention } from "./oplog/retention.ts";
import { SourceLease } from "./oplog/source-lease.ts";
import { StreamRequestStore } from "./oplog/stream-request-store.ts";
import { VerificationFacts } from "./oplog/verification-facts.ts";
import { ByteBudget } from "./runtime/byte-budget.ts";
import { messageOf } from "./runtime/error-message.ts";
import { HealthRegistry } from "./runtime/health-registry.ts";
import { type Logger, moduleLogger, setLogLevels } from "./runtime/logger.ts";
import type { Service } from "./runtime/service.ts";
import { ServiceStack } from "./runtime/service-stack.ts";
import { EmbeddedSource } from "./source/embedded-source.ts";
import type { MongoSourceOptions } from "./source/mongo-source.ts";
import { type CaptureTurn, SourceService } from "./source/source-service.ts";
import { Verifier } from "./verify/verifier.ts";

/** The whole program as one service. */
export interface App extends Service {
  /** Where the API listens, as a URL; null where this process has no API or does not listen. */
  address(): string | null;
  /** Takes over what of a configuration a running process can (`isReloadable` in the option table). */
  reload(config: Config): void;
}

/** A stream may always use this part of the capture's memory, whatever the copies hold (invariant 10). */
const STREAM_RESERVE = 0.25;

/** A cache that was not heard asks again when it is opened the next time. */
const COPY_REQUEST_TIMEOUT_MS = 30_000;

/**
 * Puts the parts together. Reading downwards is the way of the data, and the order in which the parts start; they
 * stop in reverse, so that nothing is stopped that another part still needs.
 */
export function createApp(given: Config, options: { readonly logger: Logger }): App {
  const { logger } = options;
  // The parts hold these sections, whose settings `reload` replaces.
  const config: Config = { ...given, copy: { ...given.copy }, retention: { ...given.retention } };
  const health = new HealthRegistry();
  const stack = new ServiceStack(logger);
  const add = <S extends Service>(service: S): S => {
    stack.add(service);
    return service;
  };
  const has = new Set(config.roles);
  const log = logParts(config, logger, health);
  const { postgres, commitSignal, registry, retention, oplog, hub, consumers, rejects, pool } = log;
  for (const service of [postgres, commitSignal, registry, retention, hub, consumers]) add(service);

  const restore = (version: number): Promise<boolean> => restorer.restore(version);
  const replicator = replicatorOf(config, { logger, health, postgres, rejects, restore });
  const isEmbedded = Object.values(config.sources).some(({ uri }) => uri === EMBEDDED);
  const embedded = isEmbedded && has.has("capture") ? add(new EmbeddedSource(moduleLogger(logger, "source"))) : null;
  const sources = has.has("capture") ? captureServices(config, { ...log, logger, health, replicator, embedded }) : [];
  const holder = holderName(config.cache.baseDir);
  const snapshots = snapshotsOf(config, { logger, health, registry, oplog, pool, holder, replicator });
  const restorer = cacheRestorer({ logger, registry, oplog, replicator, snapshots });
  if (has.has("replicate")) {
    add(replicator);
    add(replicatedEntities(config, { logger, registry, replicator, snapshots }));
    commitSignal.onCommit((head) => replicator.wake(head));
    const statuses = (): ReturnType<Replicator["statuses"]> => replicator.statuses();
    add(
      new CacheClaims({ name: holder, statuses, store: new ClaimStore(pool), logger: moduleLogger(logger, "cache") }),
    );
  } else health.remove("replicator");
  for (const source of sources) add(source);

  add(snapshots);
  const api = new ApiServer({
    ...config.server,
    logger: moduleLogger(logger, "api"),
    sourceNames: Object.keys(config.sources),
    registry,
    oplog,
    hub,
    consumers,
    claimTtlS: config.retention.claimTtlS,
    caches: replicator,
    rejects,
    copies: new CopyControlStore(pool),
    captures: capturesOf(sources, health),
    snapshots,
    verifier: verifierOf(config, { ...log, logger, replicator, embedded }),
    health,
    site: new DashboardFiles(),
    validateEntity,
  });
  if (has.has("api")) add(api);

  return {
    name: "emcache",
    start: () => stack.start(),
    stop: (signal) => stack.stop(signal),
    address: () => api.address(),
    reload(next) {
      Object.assign(config.copy, next.copy);
      Object.assign(config.retention, next.retention);
      setLogLevels(logger, next.logging.level);
    },
  };
}

interface LogParts {
  readonly postgres: Postgres;
  readonly pool: Postgres["pool"];
  readonly commitSignal: CommitSignal;
  readonly registry: EntityRegistry;
  readonly retention: Retention;
  readonly oplog: OplogReader;
  readonly hub: PageHub;
  readonly consumers: ConsumerClaims;
  readonly rejects: RejectStore;
  readonly streamRequests: StreamRequestStore;
}

/** PostgreSQL and what lies in it. */
function logParts(config: Config, rootLogger: Logger, health: HealthRegistry): LogParts {
  const logger = moduleLogger(rootLogger, "oplog");
  const { dataDir } = config;
  const postgres = new Postgres({
    ...config.database.postgres,
    dataDir,
    logger,
    health: health.component("postgres"),
    definitions: () => cachedDefinitions(config.cache.baseDir, logger),
  });
  const { pool } = postgres;
  const commitSignal = new CommitSignal({ postgres, logger });
  const registry = new EntityRegistry({
    store: new PostgresEntityStore({ pool, onChange: () => commitSignal.registryChanged() }),
    refreshIntervalMs: config.cache.entityRefreshIntervalS * 1000,
    logger: moduleLogger(rootLogger, "entity"),
    health: health.component("registry"),
  });
  commitSignal.onRegistryChange(() => void registry.refresh().catch(() => "the poll sees it"));
  const oplog = new OplogReader(pool);
  const hub = new PageHub({
    log: oplog,
    bytesMax: config.memory.followBytesMax,
    waitersMax: config.server.waitingMax,
    intervalMs: config.cache.replicationIntervalS * 1000,
    logger,
  });
  commitSignal.onCommit((head) => hub.wake(head));
  const retention = new Retention({
    pool,
    get ageS() {
      return config.retention.ageS;
    },
    get rowsMax() {
      return config.retention.rowsMax;
    },
    get rowsHardMax() {
      return config.retention.rowsHardMax;
    },
    claimTtlS: config.retention.claimTtlS,
    logger,
    health: health.component("retention"),
  });
  return {
    postgres,
    pool,
    commitSignal,
    registry,
    retention,
    oplog,
    hub,
    consumers: new ConsumerClaims({ store: new ClaimStore(pool), logger }),
    rejects: new RejectStore(pool),
    streamRequests: new StreamRequestStore(pool),
  };
}

interface ReplicatorParts {
  readonly logger: Logger;
  readonly health: HealthRegistry;
  readonly postgres: Postgres;
  readonly rejects: RejectStore;
  /** Whether a cache that the log can't fill is filled from a snapshot. */
  readonly restore: (version: number) => Promise<boolean>;
}

function replicatorOf(config: Config, parts: ReplicatorParts): Replicator {
  const { health, postgres, rejects } = parts;
  const copyRequests = new CopyRequestStore(postgres.pool);
  const logger = moduleLogger(parts.logger, "cache");
  return new Replicator({
    connection: { ...postgres.connection },
    baseDir: config.cache.baseDir,
    replicationIntervalS: config.cache.replicationIntervalS,
    onNeedsCopy: (version, reason) => {
      const askForCopy = async (): Promise<void> => {
        if (await parts.restore(version)) return;
        logger.warn(
          { event: "cache_needs_copy", version, reason },
          "a cache can't be built from the log; copying anew",
        );
        await copyRequests.request(version, AbortSignal.timeout(COPY_REQUEST_TIMEOUT_MS));
      };
      void askForCopy().catch((error: unknown) =>
        logger.error({ event: "copy_request_failed", version, reason: messageOf(error) }, "copy not asked for"),
      );
    },
    onRejects: (found) =>
      void rejects
        .add(found.map((reject) => ({ ...reject, column: null, sample: "" })))
        .catch((error: unknown) =>
          logger.error({ event: "rejects_lost", reason: messageOf(error) }, "rejects not stored"),
        ),
    logger,
    health: health.component("replicator"),
  });
}

interface CaptureParts {
  readonly logger: Logger;
  readonly health: HealthRegistry;
  readonly postgres: Postgres;
  readonly commitSignal: CommitSignal;
  readonly registry: EntityRegistry;
  readonly replicator: Replicator;
  readonly hub: PageHub;
  readonly streamRequests: StreamRequestStore;
  readonly embedded: EmbeddedSource | null;
}

type VerifierParts = Pick<CaptureParts, "logger" | "replicator" | "embedded" | "streamRequests"> &
  Pick<LogParts, "pool" | "oplog">;

/** What compares sources with the caches of this process, whichever process captures them. */
function verifierOf(config: Config, parts: VerifierParts): Verifier {
  const { pool, oplog, replicator, streamRequests, logger } = parts;
  const copyRequests = new CopyRequestStore(pool);
  return new Verifier({
    mongo: (sourceName) => {
      const source = config.sources[sourceName];
      return source === undefined ? null : mongoOptions(sourceName, source, parts.embedded);
    },
    caches: replicator,
    oplog,
    log: new VerificationFacts(pool),
    ask: (question, signal) => streamRequests.ask(question, signal),
    requestCopy: (version, signal) => copyRequests.request(version, signal),
    logger: moduleLogger(logger, "verify"),
  });
}

/** One capture a source; they share the process's memory for what is on its way into the log. */
function captureServices(config: Config, parts: CaptureParts): SourceService[] {
  const { health, postgres, commitSignal, registry, replicator, hub } = parts;
  const logger = moduleLogger(parts.logger, "source");
  const bytesMax = config.memory.captureBytesMax;
  const budget = new ByteBudget({ bytesMax, reservedBytes: Math.floor(bytesMax * STREAM_RESERVE) });
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
function capturesOf(sources: readonly SourceService[], health: HealthRegistry): CapturesPort {
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
function mongoOptions(sourceName: string, source: SourceConfig, embedded: EmbeddedSource | null): MongoSourceOptions {
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

/** Names this process's cache directory among all processes on this PostgreSQL; the same after a restart. */
function holderName(baseDir: string): string {
  return `${hostname()}:${createHash("sha256").update(baseDir).digest("hex").slice(0, 12)}`;
}
