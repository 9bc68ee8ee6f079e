import { type Entity, ERROR_CATALOGUE } from "@emcache/protocol";
import type {
  ApiDependencies,
  CacheStatusShown,
  CopyCondition,
  EntityVersions,
  RegisteredEntity,
  ShownError,
} from "./api-dependencies.ts";
import type { VersionFacts } from "./version-facts.ts";
import { namedVersion } from "./named-version.ts";

/** What the state of an entity is computed from. */
export type StatusDependencies = Pick<ApiDependencies, "captures" | "sourceNames"> & {
  readonly caches: Pick<ApiDependencies["caches"], "statuses">;
};

/**
 * How an entity is, as one word. `copying`: its first copy is running or about to, nothing is served yet. `live`: it
 * is served (also while it is copied anew). `failed`: nothing is served and its copy can't go on. `stopped`: a reject
 * stopped it (`on_reject`). `stale`: its collection is gone and its rows are kept (`on_drop`). The last two serve what
 * they had and take nothing more until they are told to go on. `reason` says why it is one of the last three.
 */
export type EntityState = "copying" | "live" | "failed" | "stopped" | "stale";

/** One version of an entity, with how it is now. */
export interface VersionStatus extends Entity {
  readonly state: EntityState;
  /** How much of a running copy is done, 0 to 100; null where none is running or the collection's size is unknown. */
  readonly percent: number | null;
  /** Whether its copies rest, by an operator's wish; null while PostgreSQL is away. */
  readonly copy_paused: boolean | null;
  /** Why the state is `failed`, `stopped` or `stale`; null otherwise. */
  readonly reason: string | null;
  /** Rows in the cache; while the first copy runs, rows that it has read. Null where this process has no cache of it. */
  readonly rows: number | null;
  /** The cache holds everything up to this position of the oplog; null where this process has no cache of it. */
  readonly position: number | null;
  /** How far the cache may be behind the source; null if unknown. */
  readonly lag_ms: number | null;
  /** Entries of the oplog that the cache hasn't applied yet. */
  readonly lag_entries: number | null;
  /** Entries of the oplog that this process has applied since it began; their growth is the rate of events. */
  readonly applied_entries: number | null;
  /** Size of the cache file. */
  readonly size_bytes: number | null;
  /** The last error of the source or of the cache that still holds; null where all is well. */
  readonly last_error: ShownError | null;
  /** Values and documents that could not be mapped; null while PostgreSQL is away. */
  readonly rejects: number | null;
}

/** An entity as `GET /api/entities/{name}` shows it: its served version, and the one that will replace it. */
export interface EntityStatus extends VersionStatus {
  /** The changed version that is being copied beside the served one; null where there is none. */
  readonly pending: VersionStatus | null;
}

export function entityStatus(
  versions: EntityVersions,
  dependencies: StatusDependencies,
  facts: VersionFacts,
): EntityStatus | null {
  const named = namedVersion(versions);
  if (named === null) return null;
  const replacing = versions.live === null ? null : versions.pending;
  return {
    ...versionStatus(named, dependencies, facts),
    pending: replacing === null ? null : versionStatus(replacing, dependencies, facts),
  };
}

function versionStatus(
  { entity, state }: RegisteredEntity,
  { caches, captures, sourceNames }: StatusDependencies,
  { rejects, copies }: VersionFacts,
): VersionStatus {
  const cache = caches.statuses().get(entity.id) ?? null;
  const capture = captures.captureStatus(entity.client);
  const copy = captures.copyProgress(entity.id);
  const sourceError = sourceNames.includes(entity.client) ? (capture?.error ?? null) : unknownSource(entity.client);
  const condition = copies?.get(entity.id) ?? null;
  const halt = haltOf(condition);
  const lastError = halt?.error ?? cache?.lastError ?? sourceError;
  // The log may say `live` a moment before this process's cache has switched to the copy: a reader would see nothing.
  const isServed = state === "live" && cache?.dataState !== "empty";
  const shownState = halt?.state ?? (isServed ? "live" : lastError === null ? "copying" : "failed");
  return {
    ...entityOnly(entity),
    state: shownState,
    percent: copy === null ? null : percentOf(copy.rowCount, copy.rowCountEstimate),
    copy_paused: copies === null ? null : (condition?.isPaused ?? false),
    reason: shownState === "live" || shownState === "copying" ? null : (lastError?.detail ?? null),
    rows: !isServed && copy !== null ? copy.rowCount : (cache?.rows ?? null),
    position: cache?.position ?? null,
    lag_ms: lagMs(cache, capture?.lagMs ?? null),
    lag_entries: cache?.lagEntries ?? null,
    applied_entries: cache?.appliedRows ?? null,
    size_bytes: cache?.sizeBytes ?? null,
    last_error: lastError,
    rejects: rejects === null ? null : (rejects.get(entity.id) ?? 0),
  };
}

/** The registered definition alone, in the order in which the brief writes it. */
export function entityOnly({
  id,
  name,
  client,
  source,
  shape,
  filter,
  on_reject,
  on_drop,
  created_at,
}: Entity): Entity {
  return {
    id,
    name,
    client,
    source,
    shape,
    ...(filter === undefined ? {} : { filter }),
    ...(on_reject === undefined ? {} : { on_reject }),
    ...(on_drop === undefined ? {} : { on_drop }),
    created_at,
  };
}

/** Why an entity takes nothing until it is told to go on; null where it does take what comes. */
function haltOf(condition: CopyCondition | null): { state: "stopped" | "stale"; error: ShownError } | null {
  if (condition?.state !== "stopped" && condition?.state !== "kept") return null;
  const isStopped = condition.state === "stopped";
  const code = isStopped ? "entity_stopped" : "entity_stale";
  const { title, hint } = ERROR_CATALOGUE[code];
  const detail = isStopped && condition.stopReason !== null ? condition.stopReason : title;
  return { state: isStopped ? "stopped" : "stale", error: { code, detail, hint } };
}

function unknownSource(name: string): ShownError {
  return {
    code: "config_invalid",
    detail: `The entity's client ${JSON.stringify(name)} is not a configured source`,
    hint: `Add [sources.${name}] to the configuration, or delete the entity.`,
  };
}

/** A collection that grows while it is copied has more rows than were counted at first: 100 is kept for the end. */
function percentOf(rowCount: number, rowCountEstimate: number): number | null {
  if (rowCountEstimate <= 0) return null;
  return Math.min(Math.floor((rowCount / rowCountEstimate) * 1000) / 10, 99.9);
}

/** The source's lag plus the time since the cache last applied rows, if it has rows to apply. */
function lagMs(cache: CacheStatusShown | null, sourceLagMs: number | null): number | null {
  if (cache === null || sourceLagMs === null) return null;
  const waitingMs = cache.lagEntries > 0 && cache.appliedAt > 0 ? Math.max(Date.now() - cache.appliedAt, 0) : 0;
  return Math.round(sourceLagMs + waitingMs);
}
