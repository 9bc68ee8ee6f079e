import type { AccessTokenInfo, Entity, EntityDefinition } from "@emcache/protocol";
import type { QueryRunner } from "../cache/query-runner.ts";
import type { TlsFiles } from "../config/config.ts";
import type { StoredClaim } from "../oplog/claim-store.ts";
import type { ConsumerSeen } from "../oplog/consumer-claims.ts";
import type { PageHub } from "../oplog/page-hub.ts";
import type { NewToken } from "../oplog/token-store.ts";
import type { ReadableLog } from "../oplog/read-log.ts";
import type { Logger } from "../runtime/logger.ts";
import type { ComponentState } from "../runtime/service.ts";
import type { Tracer } from "../runtime/tracer.ts";
import type { Verifier } from "../verify/verifier.ts";
import type { Authenticator } from "./authenticator.ts";
import type { MetricsPort } from "./metrics-port.ts";
import type { SnapshotsPort } from "./snapshots-port.ts";

export type { ContentCoding, SnapshotFile, SnapshotsPort } from "./snapshots-port.ts";

/** One version of an entity and what it is now. */
export interface RegisteredEntity {
  readonly entity: Entity;
  readonly state: "pending" | "live" | "retired";
}

/** The versions of one name: the served one, and the one that is being copied for the first time. */
export interface EntityVersions {
  readonly live: RegisteredEntity | null;
  readonly pending: RegisteredEntity | null;
}

/** The registry as the API sees it: reads are answered from memory, so they go on while PostgreSQL is away. */
export interface EntityRegistryPort {
  /** One version, retired ones included; null where there is none, or its entity was deleted. */
  find(version: number): { readonly entity: Entity; readonly state: "pending" | "live" | "retired" } | null;
  /** Calls `listener` after each change. Returns how to end it. */
  onChange(listener: () => void): () => void;
  /** All versions that are not retired. */
  list(): readonly RegisteredEntity[];
  get(name: string): EntityVersions | null;
  /** @throws EmcacheError `entity_exists`, `postgres_unavailable` */
  create(definition: EntityDefinition): Promise<RegisteredEntity>;
  /** @throws EmcacheError `entity_not_found`, `postgres_unavailable` */
  update(name: string, definition: EntityDefinition): Promise<RegisteredEntity>;
  /** Whether there was such an entity. */
  delete(name: string): Promise<boolean>;
  refresh(): Promise<void>;
}

/** An error as it is shown beside an entity. */
export interface ShownError {
  readonly code: string;
  readonly detail: string;
  readonly hint: string;
}

/** How the local cache of one entity version is. */
export interface CacheStatusShown {
  /** `sync` while a copy fills the table that will replace the served one. */
  readonly mode: "sync" | "live";
  /** What readers see: nothing yet, an older state with gaps, or all rows as of `position`. */
  readonly dataState: "empty" | "stale" | "whole";
  readonly rows: number;
  readonly position: number;
  readonly lagEntries: number;
  readonly lastError: ShownError | null;
  readonly sizeBytes: number;
  /** Log rows of this version that were applied since the process began. */
  readonly appliedRows: number;
  /** When rows were last applied: milliseconds since 1970; 0 if never. */
  readonly appliedAt: number;
}

/** The caches of this process. */
export interface CachesPort {
  statuses(): ReadonlyMap<number, CacheStatusShown>;
}

/** A value or a document that could not be mapped. */
export interface RejectShown {
  readonly docId: string;
  readonly column: string | null;
  readonly reason: string;
  readonly sample: string;
  readonly seenCount: number;
  /** RFC 3339, UTC with `Z`. */
  readonly lastSeenAt: string;
}

/** Where rejects are kept. */
export interface RejectsPort {
  count(versions: number[]): Promise<ReadonlyMap<number, number>>;
  /** Of those that are kept, the last seen first. */
  list(version: number, limit: number, offset: number): Promise<readonly RejectShown[]>;
  /** Forgets those of one version. */
  clear(version: number): Promise<void>;
}

/** How the copy of an entity's version is, whichever process makes it. */
export interface CopyCondition {
  /** `stopped` by its policy, or `kept` without a collection: it takes nothing. Null before its first copy has begun. */
  readonly state: "running" | "done" | "stopped" | "kept" | null;
  readonly isPaused: boolean;
  /** The reject that stopped it; null where none did. */
  readonly stopReason: string | null;
}

/** What operators do with copies; the capturing process sees it within a second. */
export interface CopiesPort {
  conditions(versions: number[]): Promise<ReadonlyMap<number, CopyCondition>>;
  /** A new copy of the version. */
  request(version: number): Promise<void>;
  pause(entityName: string): Promise<void>;
  resume(entityName: string): Promise<void>;
}

/** How the capture of one source is. */
export interface CaptureStatus {
  /** How far the newest captured change is behind the source; null if unknown or captured by another process. */
  readonly lagMs: number | null;
  /** Why it doesn't go on at the moment; null where it does. */
  readonly error: ShownError | null;
}

/** The capturing side of this process. */
export interface CapturesPort {
  /** Null for a source that this process doesn't capture. */
  captureStatus(sourceName: string): CaptureStatus | null;
  /** How far the copy of this version is; null where none is running. */
  copyProgress(version: number): { readonly rowCount: number; readonly rowCountEstimate: number } | null;
}

/** Those who follow the log under a name. */
export interface ConsumersPort {
  /** Takes note of one; stored a little later. @throws EmcacheError `bad_request` where the name can't be one */
  seen(seen: ConsumerSeen): void;
  /** The furthest behind first. @throws EmcacheError `postgres_unavailable` */
  list(signal: AbortSignal): Promise<readonly StoredClaim[]>;
  /** Whether there was one. @throws EmcacheError `postgres_unavailable` */
  remove(name: string, signal: AbortSignal): Promise<boolean>;
}

/** The bearer tokens of `server.auth = "token"`. */
export interface TokensPort {
  /** The token itself is in no other answer. @throws EmcacheError `token_exists`, `postgres_unavailable` */
  create(token: NewToken, signal: AbortSignal): Promise<{ readonly token: string; readonly info: AccessTokenInfo }>;
  /** By name. @throws EmcacheError `postgres_unavailable` */
  list(signal: AbortSignal): Promise<readonly AccessTokenInfo[]>;
  /** Whether there was one. @throws EmcacheError `postgres_unavailable` */
  revoke(name: string, signal: AbortSignal): Promise<boolean>;
}

/** The health of the process's parts, by name. */
export interface HealthPort {
  states(): Readonly<Record<string, ComponentState>>;
}

/** One file of the web page. */
export interface SiteFile {
  readonly body: Buffer;
  /** Media type with charset. */
  readonly type: string;
}

/** The web page: static files that talk to nothing but this API. */
export interface SitePort {
  /** What the page may load and do: the value of the header `content-security-policy`. */
  contentSecurityPolicy(): Promise<string>;
  /** The page itself. */
  page(): Promise<SiteFile>;
  /** A file that the page loads, by its path below `/assets/`; null where there is none. */
  asset(path: string): Promise<SiteFile | null>;
}

/** Everything that the API answers from. */
export interface ApiDependencies {
  readonly host: string;
  /** 0 lets the system choose; see `ApiServer.address`. */
  readonly port: number;
  /** Null: plain HTTP. */
  readonly tls: TlsFiles | null;
  /** Requests a minute of one address; 0: no limit. */
  readonly rateLimit: number;
  /** Who may use the API. */
  readonly authenticator: Authenticator;
  readonly tokens: TokensPort;
  readonly logger: Logger;
  /** Names of the configured sources, for the validation of entities. */
  readonly sourceNames: readonly string[];
  readonly registry: EntityRegistryPort;
  readonly oplog: ReadableLog;
  /** What many readers that are nearly at the head share. */
  readonly hub: PageHub;
  readonly consumers: ConsumersPort;
  /** A consumer that was not seen for longer, in seconds, holds back nothing. */
  readonly claimTtlS: number;
  /** Whether shared HTTP caches may keep immutable answers. */
  readonly cachesPublicly: boolean;
  readonly caches: CachesPort;
  readonly rejects: RejectsPort;
  readonly copies: CopiesPort;
  readonly captures: CapturesPort;
  readonly snapshots: SnapshotsPort;
  /** The file of a version; null where this process has none. */
  readonly cachePathOf: (version: number) => string | null;
  /** Runs queries over cache files; null: they are switched off. */
  readonly queries: Pick<QueryRunner, "run"> | null;
  /** Compares sources with caches. */
  readonly verifier: Pick<Verifier, "begin" | "end">;
  readonly health: HealthPort;
  /** Served at `/metrics`; null: nothing is measured. */
  readonly metrics: MetricsPort | null;
  /** Takes the time of requests; null: nobody does. */
  readonly tracer: Tracer | null;
  /** Served at `/`; null: there is no web page. */
  readonly site: SitePort | null;
  /** Checks a request body and returns the definition. @throws EmcacheError `entity_invalid` with every mistake */
  readonly validateEntity: (body: unknown, context: { readonly sourceNames: readonly string[] }) => EntityDefinition;
}
