import type { SnapshotManifest } from "@emcache/protocol";

/** How many snapshots of one version are kept. */
export interface KeepSettings {
  /** The newest so many, whatever their age. */
  readonly keepCount: number;
  /** How far back point in time is to go; 0: no further than `keepCount` does. */
  readonly keepAgeMs: number;
}

/**
 * Of those of `keepAgeMs`, one for each of so many parts of it: what is replayed from the log to reach a point between
 * two of them stays a quarter of that time, and no entity costs more than five files beyond `keepCount`.
 */
const PARTS_OF_AGE = 4;

/**
 * Which snapshots of one version go. Beside the newest `keepCount` those are kept that point in time needs: the newest
 * one of each quarter of `keepAgeMs`, and the newest one that is older, from which the oldest quarter's begin is reached.
 *
 * @param manifests newest first
 */
export function snapshotsToRemove(
  manifests: readonly SnapshotManifest[],
  { keepCount, keepAgeMs }: KeepSettings,
  nowMs: number,
): SnapshotManifest[] {
  const partMs = keepAgeMs / PARTS_OF_AGE;
  const taken = new Set<number>();
  return manifests.filter((manifest, index) => {
    const createdAtMs = Date.parse(manifest.created_at);
    // By the wall clock's own grid, so that which one stands for a part doesn't change as time goes by.
    const part =
      keepAgeMs === 0 ? null : Math.max(Math.floor(createdAtMs / partMs), oldestPart(nowMs, keepAgeMs, partMs));
    const isFirstOfPart = part !== null && !taken.has(part);
    if (part !== null) taken.add(part);
    return index >= Math.max(keepCount, 1) && !isFirstOfPart;
  });
}

/** Number of the part that ends before `keepAgeMs`; all older ones count as this one. */
function oldestPart(nowMs: number, keepAgeMs: number, partMs: number): number {
  return Math.floor((nowMs - keepAgeMs) / partMs) - 1;
}
