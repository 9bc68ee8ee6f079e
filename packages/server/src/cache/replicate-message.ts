import type pg from "pg";
import type { OplogPage } from "../oplog/oplog-reader.ts";
import type { CacheRecord } from "./cache-set.ts";
import type { CacheStatus, ProblemLike } from "./cache-status.ts";
import type { DealtPage, ReportLevel, VersionReject } from "./replicate-port.ts";

/** What the worker thread is started with. */
export interface ReplicateWorkerData {
  /** As plain data: it goes into another thread. */
  readonly connection: pg.ClientConfig;
  readonly baseDir: string;
  readonly intervalMs: number;
  readonly walBytesMax: number | null;
  /** Whether each page that is dealt is told. */
  readonly tellsPages: boolean;
  readonly records: readonly CacheRecord[] | null;
  /** Memory of a `WakeWord`. */
  readonly wakeWord: SharedArrayBuffer;
}

/** What the main thread tells the worker. */
export type ReplicateOrder =
  | { readonly kind: "records"; readonly records: readonly CacheRecord[] }
  | { readonly kind: "wake" }
  /** A batch that this process committed; the wake-up follows. */
  | { readonly kind: "batch"; readonly page: OplogPage }
  /** A file lies beside the version's that is to take its place (`restoringPathOf`). */
  | { readonly kind: "restored"; readonly version: number }
  | { readonly kind: "stop" };

/** What the worker tells the main thread. */
export type ReplicateNews =
  | { readonly kind: "statuses"; readonly statuses: readonly CacheStatus[] }
  | { readonly kind: "needs_copy"; readonly version: number; readonly reason: string }
  | { readonly kind: "rejects"; readonly rejects: readonly VersionReject[] }
  | { readonly kind: "dealt"; readonly page: DealtPage }
  | { readonly kind: "log"; readonly problem: ProblemLike | null }
  | {
      readonly kind: "line";
      readonly level: ReportLevel;
      readonly event: string;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    };
