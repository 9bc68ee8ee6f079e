import type { Entity } from "@emcache/protocol";
import type { OplogReader } from "../oplog/oplog-reader.ts";
import type { StreamQuestion } from "../oplog/stream-request-store.ts";
import type { LoggedState } from "../oplog/verification-facts.ts";
import type { ClusterTime } from "../source/cluster-time.ts";
import type { SourceConnection } from "../source/source-connection.ts";
import type { VerifyListener, VerifyOptions } from "./verify-report.ts";

/** What a verification asks of the log beside its rows. */
export interface VerificationLog {
  copyState(version: number, signal: AbortSignal): Promise<string | null>;
  latestTime(source: string, signal: AbortSignal): Promise<ClusterTime | null>;
  statesOf(version: number, docIds: readonly string[], signal: AbortSignal): Promise<readonly LoggedState[]>;
}

/** The caches of this process. */
export interface VerifiedCaches {
  statuses(): ReadonlyMap<number, { readonly mode: "live" | "sync" }>;
  pathOf(version: number): string | null;
  waitFor(position: number, signal: AbortSignal, version: number): Promise<void>;
}

/** What one verification works with. */
export interface VerificationContext {
  readonly entity: Entity;
  readonly source: SourceConnection;
  readonly oplog: Pick<OplogReader, "head" | "page">;
  readonly log: VerificationLog;
  readonly caches: VerifiedCaches;
  /** Resolves once the capture has passed the time, and has logged the documents' states once more. */
  readonly ask: (question: StreamQuestion, signal: AbortSignal) => Promise<void>;
  readonly requestCopy: (version: number, signal: AbortSignal) => Promise<void>;
  readonly options: VerifyOptions;
  readonly listener: VerifyListener;
  readonly signal: AbortSignal;
}
