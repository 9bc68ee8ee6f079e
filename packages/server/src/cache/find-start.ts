import type { CacheFile } from "@emcache/cache-file";
import type { ReplicateLog } from "./replicate-port.ts";

/** Where in the log a cache that can't go on from its own place begins. */
export interface CacheStart {
  /** Its first page begins after this position. */
  readonly position: number;
  /** Whether the log holds no copy to begin with: a new one has to come. */
  readonly isCopyMissing: boolean;
}

/** Just before the version's newest copy; where the log has none, its end. Throws what the log throws. */
export async function findStart(log: ReplicateLog, version: number, signal: AbortSignal): Promise<CacheStart> {
  // The head first: a copy that begins after this look is beyond it.
  const { head } = await log.head(signal);
  const bracket = await log.latestSyncStart(version, signal);
  return { position: bracket === null ? head : bracket.position - 1, isCopyMissing: bracket === null };
}

/**
 * Whether a file as it was opened goes on from its own place: it is whole, or in a copy, or a copy begins beyond its
 * place. Throws what the log throws.
 */
export async function canGoOn(file: CacheFile, log: ReplicateLog, signal: AbortSignal): Promise<boolean> {
  if (file.dataState === "whole" || file.isCopying) return true;
  if (file.position === 0) return false;
  const bracket = await log.latestSyncStart(file.version, signal);
  return bracket !== null && bracket.position > file.position;
}
