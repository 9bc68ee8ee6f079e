export { buildSnapshot, type BuiltSnapshot } from "./build-snapshot.ts";
export { CacheFile, type CacheFileOptions, type CheckpointResult } from "./cache-file.ts";
export { CACHE_FORMAT, modeOf, type CacheIdentity, type CacheState, type CopyBracket } from "./cache-metadata.ts";
export type { ApplyResult, CacheMode, CacheReject, CacheRow, DataState, LogPoint } from "./cache-row.ts";
export { openReader, readCacheState } from "./open-reader.ts";
export { SUMS_SUFFIX } from "./page-sums.ts";
export { quoteIdentifier } from "./quote-identifier.ts";
