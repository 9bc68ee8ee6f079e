import type { CacheReject } from "@emcache/cache-file";
import type { OplogPage } from "../oplog/oplog-reader.ts";
import type { CacheStatus } from "./cache-status.ts";

/** The log as the replicating side reads it; `OplogReader` is one. */
export interface ReplicateLog {
  /** Without `versions` all rows. @throws EmcacheError `position_too_old`, `oplog_hole`, `postgres_unavailable` */
  page(request: {
    after: number;
    limit: number;
    bytesMax: number;
    versions?: number[];
    signal: AbortSignal;
  }): Promise<OplogPage>;
  head(signal?: AbortSignal): Promise<{ logId: string; head: number; floor: number }>;
  /** Where the version's most recent copy begins, complete or running; null where the log doesn't hold its begin. */
  latestSyncStart(version: number, signal?: AbortSignal): Promise<{ position: number; complete: boolean } | null>;
}

/** A reject of one version's cache. */
export interface VersionReject extends CacheReject {
  readonly version: number;
}

/** Levels of a line for the log. */
export type ReportLevel = "debug" | "info" | "warn" | "error";

/** A page that was dealt to caches. */
export interface DealtPage {
  readonly rows: number;
  readonly caches: number;
  /** Scanned through, inclusive. */
  readonly position: number;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
}

/** What the replicating side tells the rest of the process. All calls return at once and never throw. */
export interface ReplicateReport {
  /** The statuses of all caches, as soon as nothing is left to apply and from time to time before. */
  statuses(statuses: readonly CacheStatus[]): void;
  /** The log doesn't hold what this version's cache can be built from: a new copy has to be made. */
  needsCopy(version: number, reason: string): void;
  /** Rows that caches could not take; the same one may be told twice. */
  rejects(rejects: readonly VersionReject[]): void;
  /** The log can't be read because of `error`; null once it can. */
  log(error: unknown): void;
  /** A page with rows was dealt; absent where nobody wants to know. */
  dealt?(page: DealtPage): void;
  line(level: ReportLevel, event: string, fields: Readonly<Record<string, unknown>>, message: string): void;
}
