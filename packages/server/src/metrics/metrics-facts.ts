import type { SnapshotManifest } from "@emcache/protocol";
import type pg from "pg";
import type { ApiDependencies, EntityRegistryPort } from "../api/api-dependencies.ts";
import { entityStatus, type VersionStatus } from "../api/entity-status.ts";
import { versionFacts } from "../api/version-facts.ts";
import type { CacheStatus } from "../cache/cache-status.ts";
import { type LogFacts, readLogFacts } from "../oplog/log-facts.ts";
import type { PageHub } from "../oplog/page-hub.ts";
import type { HealthRegistry } from "../runtime/health-registry.ts";
import type { CopyCheckpoint } from "../source/capture-log.ts";
import type { SourceService } from "../source/source-service.ts";

/** An exposition without a part is better than a late one, when PostgreSQL is slow or away. */
const TIMEOUT_MS = 1_000;

/** The parts of the process that know what metrics show. */
export interface MetricsParts {
  readonly registry: Pick<EntityRegistryPort, "list" | "get">;
  readonly caches: { statuses(): ReadonlyMap<number, CacheStatus> };
  readonly captures: ApiDependencies["captures"];
  readonly copies: ApiDependencies["copies"];
  readonly rejects: ApiDependencies["rejects"];
  readonly snapshots: Pick<ApiDependencies["snapshots"], "list">;
  readonly sourceNames: readonly string[];
  /** The captures of this process. */
  readonly sources: readonly Pick<SourceService, "sourceName" | "status">[];
  readonly hub: Pick<PageHub, "counts" | "memory" | "waiterCount" | "waitersMax">;
  readonly pool: pg.Pool;
  readonly health: Pick<HealthRegistry, "states" | "retries">;
}

/** One version of an entity, with what each part knows of it. */
export interface VersionFactsShown {
  readonly name: string;
  readonly version: number;
  readonly status: VersionStatus;
  readonly cache: CacheStatus | null;
  /** The newest one that is verified. */
  readonly snapshot: SnapshotManifest | null;
  /** Its running copy, where this process makes it. */
  readonly copy: CopyCheckpoint | null;
  /** Of its source's capture, in milliseconds; null where it isn't known here. */
  readonly sourceLagMs: number | null;
}

/** What all parts know at one moment. */
export interface MetricsFacts {
  /** Null while PostgreSQL is slow or away. */
  readonly log: LogFacts | null;
  readonly versions: readonly VersionFactsShown[];
}

/** Asks the parts; what PostgreSQL alone knows is left out where it doesn't say in a second. Never throws. */
export async function collectFacts(parts: MetricsParts, signal: AbortSignal): Promise<MetricsFacts> {
  const ids = parts.registry.list().map(({ entity }) => entity.id);
  const [log, facts, snapshots] = await Promise.all([
    readLogFacts(parts.pool, signal, TIMEOUT_MS).catch(() => null),
    versionFacts(parts, ids),
    newestSnapshots(parts.snapshots),
  ]);
  const copies = parts.sources.flatMap((source) => [...source.status().copies.values()]);
  const names = new Set(parts.registry.list().map(({ entity }) => entity.name));
  const versions = [...names].flatMap((name) => {
    const named = parts.registry.get(name);
    const status = named === null ? null : entityStatus(named, parts, facts);
    return status === null ? [] : [status, ...(status.pending === null ? [] : [status.pending])];
  });
  return {
    log,
    versions: versions.map((status) => ({
      name: status.name,
      version: status.id,
      status,
      cache: parts.caches.statuses().get(status.id) ?? null,
      snapshot: snapshots.get(status.id) ?? null,
      copy: copies.find(({ version, state }) => version === status.id && state === "running") ?? null,
      sourceLagMs: parts.captures.captureStatus(status.client)?.lagMs ?? null,
    })),
  };
}

/** By version. */
async function newestSnapshots(snapshots: MetricsParts["snapshots"]): Promise<ReadonlyMap<number, SnapshotManifest>> {
  const { promise: tooLate, resolve } = Promise.withResolvers<[]>();
  const timer = setTimeout(() => resolve([]), TIMEOUT_MS);
  const listed = await Promise.race([snapshots.list().catch(() => []), tooLate]);
  clearTimeout(timer);
  // The newest comes first, so it is written last.
  return new Map(listed.toReversed().map((manifest) => [manifest.version, manifest]));
}
