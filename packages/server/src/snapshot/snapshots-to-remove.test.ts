import type { SnapshotManifest } from "@emcache/protocol";
import { expect, test } from "vitest";
import { snapshotsToRemove } from "./snapshots-to-remove.ts";

const HOUR_MS = 3_600_000;

/** Ids are their age in hours; newest first. */
function manifests(ages: readonly number[], nowMs: number): SnapshotManifest[] {
  return ages.map((age) => ({
    id: String(age),
    entity: "users",
    version: 1,
    log_id: "log",
    position: 1_000 - age,
    tag: "t",
    cluster_time_s: null,
    rows: 0,
    size_bytes: 0,
    sha256: "",
    compressions: [],
    created_at: new Date(nowMs - age * HOUR_MS).toISOString(),
  }));
}

test("the newest keepCount stay, whatever their age", () => {
  const all = manifests([0, 1, 2, 300], 1e12);
  expect(snapshotsToRemove(all, { keepCount: 2, keepAgeMs: 0 }, 1e12).map(({ id }) => id)).toEqual(["2", "300"]);
  expect(snapshotsToRemove(all, { keepCount: 9, keepAgeMs: 0 }, 1e12)).toEqual([]);
  expect(snapshotsToRemove(all, { keepCount: 0, keepAgeMs: 0 }, 1e12)).toHaveLength(3);
});

test("as time goes by, the first one of each sixth of keepAge stays, and one that is older", () => {
  const keep = { keepCount: 1, keepAgeMs: 24 * HOUR_MS };
  const begin = 1e12;
  let kept: SnapshotManifest[] = [];
  for (let hour = 0; hour < 100; hour += 0.5) {
    const nowMs = begin + hour * HOUR_MS;
    kept = [...manifests([0], nowMs).map((manifest) => ({ ...manifest, id: String(hour) })), ...kept];
    const removed = new Set(snapshotsToRemove(kept, keep, nowMs));
    kept = kept.filter((manifest) => !removed.has(manifest));
    // Whatever point of the last day is asked for, a snapshot lies before it, by eight hours at most.
    const agesH = kept.map(({ created_at }) => (nowMs - Date.parse(created_at)) / HOUR_MS);
    for (let age = 0; age <= Math.min(24, hour); age += 0.5) {
      expect(agesH.some((candidate) => candidate >= age && candidate <= age + 8)).toBe(true);
    }
    expect(kept.length).toBeLessThanOrEqual(9);
  }
});
