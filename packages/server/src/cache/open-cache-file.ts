import { CacheFile } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import type { CacheDirectory } from "./cache-directory.ts";
import { toProblemLike } from "./cache-status.ts";
import type { ReplicateReport } from "./replicate-port.ts";

/** What a cache file is opened with. */
export interface OpenCacheFileContext {
  readonly directory: CacheDirectory;
  readonly report: ReplicateReport;
}

/**
 * Opens an entity version's file, making it where there is none. A damaged one is set aside, and so is one that follows
 * another log (two configurations may have been mixed up), and a new one takes its place. Throws `cache_unavailable`.
 */
export function openCacheFile(entity: Entity, logId: string, context: OpenCacheFileContext): CacheFile {
  const { directory, report } = context;
  const path = directory.pathOf(entity);
  directory.unlinkMissing(entity);
  try {
    return CacheFile.open(path, { entity, logId });
  } catch (error) {
    const { code, detail } = toProblemLike(error);
    if (code !== "cache_damaged" && code !== "history_mismatch") throw error;
    setAside(entity, error, context);
    report.line("warn", "cache_replaced", { version: entity.id, path, code }, detail);
    return CacheFile.open(path, { entity, logId });
  }
}

/** Moves a damaged file out of the way, so that nobody reads it under its name. Throws `cache_unavailable`. */
export function setAside(entity: Entity, damage: unknown, { directory, report }: OpenCacheFileContext): void {
  const reason = damage instanceof EmcacheError ? damage.details?.["reason"] : null;
  const aside = directory.setAside(entity, typeof reason === "string" ? reason : "damaged");
  report.line("warn", "cache_set_aside", { version: entity.id, path: aside }, "A cache file was set aside");
}
