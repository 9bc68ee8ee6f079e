import type pg from "pg";
import type { CacheRecord } from "./cache-set.ts";
import type { CacheStatus, ProblemLike } from "./cache-status.ts";
import type { ReportLevel, VersionReject } from "./replicate-port.ts";

/** What the worker thread is started with. */
export interface ReplicateWorkerData {
  /** As plain data: it goes into another thread. */
  readonly connection: pg.ClientConfig;
  readonly baseDir: string;
  readonly intervalMs: number;
  readonly walBytesMax: number | null;
  readonly records: readonly CacheRecord[] | null;
  /** One Int32: 1 while a wake-up is on its way, so that at most one is. */
  readonly wakeFlag: SharedArrayBuffer;
}

/** What the main thread tells the worker. */
export type ReplicateOrder =
  | { readonly kind: "records"; readonly records: readonly CacheRecord[] }
  | { readonly kind: "wake" }
  | { readonly kind: "stop" };

/** What the worker tells the main thread. */
export type ReplicateNews =
  | { readonly kind: "statuses"; readonly statuses: readonly CacheStatus[] }
  | { readonly kind: "needs_copy"; readonly version: number; readonly reason: string }
  | { readonly kind: "rejects"; readonly rejects: readonly VersionReject[] }
  | { readonly kind: "log"; readonly problem: ProblemLike | null }
  | {
      readonly kind: "line";
      readonly level: ReportLevel;
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };
