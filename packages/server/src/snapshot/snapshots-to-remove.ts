import type { SnapshotManifest } from "@emcache/protocol";

/** How many snapshots of one version are kept. */
export interface KeepSettings {
  /** The newest so many, whatever their age. */
  readonly keepCount: number;
  /** How far back point in time is to go; 0: no further than `keepCount` does. */
  readonly keepAgeMs: number;
}

/**
 * Of the snapshots of `keepAgeMs` one is kept for each of so many parts of it: what is replayed from the log to reach a
 * point between two of them is at most a third of that time, and no version costs more than seven files beyond
 * `keepCount`.
 */
const PARTS_OF_AGE = 6;

/**
 * Which snapshots of one version go. Beside the newest `keepCount` those are kept that point in time needs: the first
 * one of each part of `keepAgeMs`, and the newest one that is older than it.
 *
 * @param manifests newest first
 */
export function snapshotsToRemove(
  manifests: readonly SnapshotManifest[],
  { keepCount, keepAgeMs }: KeepSettings,
  nowMs: number,
): SnapshotManifest[] {
  const kept = new Set(manifests.slice(0, Math.max(keepCount, 1)));
  if (keepAgeMs > 0) for (const manifest of ofParts(manifests, keepAgeMs, nowMs)) kept.add(manifest);
  return manifests.filter((manifest) => !kept.has(manifest));
}

function ofParts(manifests: readonly SnapshotManifest[], keepAgeMs: number, nowMs: number): SnapshotManifest[] {
  // By the wall clock's own grid, so that which one stands for a part doesn't change as time goes by.
  const partMs = keepAgeMs / PARTS_OF_AGE;
  const partOf = ({ created_at }: SnapshotManifest): number => Math.floor(Date.parse(created_at) / partMs);
  const oldestPart = Math.floor((nowMs - keepAgeMs) / partMs);
  const older = manifests.find((manifest) => partOf(manifest) < oldestPart);
  const firstOfPart = new Map<number, SnapshotManifest>();
  // The older one takes the newer one's place.
  for (const manifest of manifests) firstOfPart.set(partOf(manifest), manifest);
  const recent = [...firstOfPart].flatMap(([part, manifest]) => (part < oldestPart ? [] : [manifest]));
  return older === undefined ? recent : [...recent, older];
}
