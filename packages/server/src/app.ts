import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { ApiServer } from "./api/api-server.ts";
import { accessParts } from "./app-access.ts";
import { cachedDefinitions } from "./cache/cached-definitions.ts";
import { CacheClaims } from "./cache/cache-claims.ts";
import { Replicator } from "./cache/replicator.ts";
import type { Config } from "./config/config.ts";
import { EMBEDDED } from "./config/option-table.ts";
import { type CaptureParts, capturesOf, captureServices, mongoOptions } from "./app-capture.ts";
import { metricsOf, tracerOf } from "./app-metrics.ts";
import { cacheRestorer, replicatedEntities, snapshotsOf } from "./app-snapshots.ts";
import { DashboardFiles } from "./dashboard/dashboard-files.ts";
import { EntityRegistry } from "./entity/entity-registry.ts";
import { validateEntity } from "./entity/validate-entity.ts";
import { ClaimStore } from "./oplog/claim-store.ts";
import { CommitSignal } from "./oplog/commit-signal.ts";
import { ConsumerClaims } from "./oplog/consumer-claims.ts";
import { CopyControlStore } from "./oplog/copy-control-store.ts";
import { CopyRequestStore } from "./oplog/copy-request-store.ts";
import { OplogReader } from "./oplog/oplog-reader.ts";
import { PageHub } from "./oplog/page-hub.ts";
import { PostgresEntityStore } from "./oplog/postgres-entity-store.ts";
import { Postgres } from "./oplog/postgres.ts";
import { RejectStore } from "./oplog/reject-store.ts";
import { Retention } from "./oplog/retention.ts";
import { StreamRequestStore } from "./oplog/stream-request-store.ts";
import { TokenStore } from "./oplog/token-store.ts";
import { VerificationFacts } from "./oplog/verification-facts.ts";
import type { MetricsParts } from "./metrics/metrics-facts.ts";
import type { Metrics } from "./metrics/metrics.ts";
import { messageOf } from "./runtime/error-message.ts";
import { HealthRegistry } from "./runtime/health-registry.ts";
import { type Logger, moduleLogger, setLogLevels } from "./runtime/logger.ts";
import type { Service } from "./runtime/service.ts";
import { ServiceStack } from "./runtime/service-stack.ts";
import type { Tracer } from "./runtime/tracer.ts";
import { EmbeddedSource } from "./source/embedded-source.ts";
import { Verifier } from "./verify/verifier.ts";

/** The whole program as one service. */
export interface App extends Service {
  /** Where the API listens, as a URL; null where this process has no API or does not listen. */
  address(): string | null;
  /** Takes over what of a configuration a running process can (`isReloadable` in the option table). */
  reload(config: Config): void;
}

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
  const tracer = tracerOf(config, logger);
  const log = logParts(config, logger, health);
  const { postgres, commitSignal, registry, retention, oplog, hub, consumers, rejects, pool } = log;
  const base = [postgres, commitSignal, registry, retention, hub, consumers];
  for (const service of tracer === null ? base : [tracer, ...base]) add(service);

  const restore = (version: number): Promise<boolean> => restorer.restore(version);
  const replicator = replicatorOf(config, { logger, health, postgres, rejects, restore, tracer });
  const embedded = hasEmbeddedSource(config) ? add(new EmbeddedSource(moduleLogger(logger, "source"))) : null;
  const metrics: Metrics = add(metricsOf(config, { logger, parts: (): MetricsParts => known, replicator }));
  const sources = captureServices(config, { ...log, logger, health, replicator, embedded, metrics, tracer });
  const holder = holderName(config.cache.baseDir);
  const snapshots = snapshotsOf(config, { logger, health, registry, oplog, pool, holder, replicator, tracer });
  const restorer = cacheRestorer({ logger, registry, oplog, replicator, snapshots });
  if (has.has("replicate")) {
    add(replicator);
    add(replicatedEntities(config, { logger, registry, replicator, snapshots }));
    commitSignal.onCommit((head) => replicator.wake(head));
    const claims = { name: holder, statuses: () => replicator.statuses(), store: new ClaimStore(pool) };
    add(new CacheClaims({ ...claims, logger: moduleLogger(logger, "cache") }));
  } else health.remove("replicator");
  for (const source of sources) add(source);

  add(snapshots);
  const known = {
    ...log,
    caches: replicator,
    cachePathOf: (version: number) => replicator.pathOf(version),
    captures: capturesOf(sources, health),
    copies: new CopyControlStore(pool),
    snapshots,
    sourceNames: Object.keys(config.sources),
    sources,
    health,
  };
  const access = accessParts(config, log, logger);
  const api = new ApiServer({
    ...config.server,
    ...access.dependencies,
    logger: moduleLogger(logger, "api"),
    ...known,
    claimTtlS: config.retention.claimTtlS,
    verifier: verifierOf(config, { ...log, logger, replicator, embedded }),
    metrics,
    tracer,
    site: new DashboardFiles(),
    validateEntity,
  });
  if (has.has("api")) for (const service of [...access.services, api]) add(service);

  return {
    name: "emcache",
    start: () => stack.start(),
    stop: (signal) => stack.stop(signal),
    address: () => api.address(),
    reload(next) {
      Object.assign(config.copy, next.copy);
      Object.assign(config.retention, next.retention);
      setLogLevels(logger, next.logging.level);
      api.reloadCertificate();
    },
  };
}

function hasEmbeddedSource({ roles, sources }: Config): boolean {
  return roles.includes("capture") && Object.values(sources).some(({ uri }) => uri === EMBEDDED);
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
  readonly tokenStore: TokenStore;
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
    tokenStore: new TokenStore({ pool, onChange: () => commitSignal.registryChanged() }),
  };
}

interface ReplicatorParts {
  readonly logger: Logger;
  readonly health: HealthRegistry;
  readonly postgres: Postgres;
  readonly rejects: RejectStore;
  /** Whether a cache that the log can't fill is filled from a snapshot. */
  readonly restore: (version: number) => Promise<boolean>;
  readonly tracer: Tracer | null;
}

function replicatorOf(config: Config, parts: ReplicatorParts): Replicator {
  const { health, postgres, rejects, tracer } = parts;
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
    tracer,
  });
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

/** Names this process's cache directory among all processes on this PostgreSQL; the same after a restart. */
function holderName(baseDir: string): string {
  return `${hostname()}:${createHash("sha256").update(baseDir).digest("hex").slice(0, 12)}`;
}
