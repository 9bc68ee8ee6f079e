import type { CacheMode, DataState } from "@emcache/cache-file";
import { EmcacheError, type ErrorCode } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/** An error as it is shown beside a cache. */
export interface ProblemLike {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly hint: string;
}

/** How the cache of one entity version is. */
export interface CacheStatus {
  /** Id of the entity's version. */
  readonly version: number;
  /** `live`: what is served is whole as of `position`; `sync` while a copy runs or must come. */
  readonly mode: CacheMode;
  /** Whether what is served is nothing yet, an older state, or whole. A snapshot needs it `whole`. */
  readonly dataState: DataState;
  /** Rows served, as last counted (at most some seconds ago). */
  readonly rows: number;
  /** Everything up to here is in the file. */
  readonly position: number;
  /** Tag of the batch that holds `position`; "" at 0. */
  readonly tag: string;
  /** Whether the log has shown that the file's history is its own, so that `position` means something. */
  readonly isVerified: boolean;
  /** Positions of the log, of any entity, beyond `position`. */
  readonly lagEntries: number;
  /** The error that holds now; null where all is well. */
  readonly lastError: ProblemLike | null;
  readonly path: string;
  /** File and WAL. */
  readonly sizeBytes: number;
  /** Beyond a checkpoint's 64 MB while a forgotten reader keeps an older state open. */
  readonly walBytes: number;
  /** Log rows of this version that were applied since the process began: its growth is the rate of events. */
  readonly appliedRows: number;
  /** When `position` last moved: epoch ms; 0 if it hasn't since the process began. */
  readonly appliedAt: number;
}

/** Any error as it is shown; what is not of the catalogue is an internal one. */
export function toProblemLike(error: unknown): ProblemLike {
  const known = error instanceof EmcacheError ? error : new EmcacheError("internal", messageOf(error));
  return { code: known.code, detail: known.message, hint: known.hint };
}
