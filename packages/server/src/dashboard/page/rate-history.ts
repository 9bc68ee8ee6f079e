import type { VersionStatus } from "./api-types.ts";

/** Points of a chart: two minutes at a reading a second. */
const POINTS_MAX = 120;
/** A rate is told over the last readings, so that it doesn't jump with every one. */
const SMOOTH_POINTS = 5;

interface Track {
  atMs: number;
  entries: number;
  readonly perS: number[];
}

/** Rates of events by version, made from the growth of what the server has applied. */
export class RateHistory {
  readonly #tracks = new Map<number, Track>();

  /** Takes the counts of one reading, made at this time (monotonic). */
  add(versions: readonly VersionStatus[], atMs: number): void {
    const known = new Set(versions.map(({ id }) => id));
    for (const id of this.#tracks.keys()) if (!known.has(id)) this.#tracks.delete(id);
    for (const { id, applied_entries: entries } of versions) {
      if (entries !== null) this.#addOne(id, entries, atMs);
    }
  }

  /** Newest last; empty where there were not yet two readings. */
  points(version: number): readonly number[] {
    return this.#tracks.get(version)?.perS ?? [];
  }

  /** The rate now; null where it is not known yet. */
  rate(version: number): number | null {
    return smoothed(this.points(version));
  }

  /** The sum over all versions, point by point from the newest. */
  total(): readonly number[] {
    const all = [...this.#tracks.values()].map(({ perS }) => perS);
    const length = Math.max(0, ...all.map((points) => points.length));
    return Array.from({ length }, (_, index) =>
      all.reduce((sum, points) => sum + (points[points.length - length + index] ?? 0), 0),
    );
  }

  #addOne(id: number, entries: number, atMs: number): void {
    const track = this.#tracks.get(id);
    // A lower count is another process's: the server was restarted.
    if (track === undefined || entries < track.entries) {
      this.#tracks.set(id, { atMs, entries, perS: track?.perS ?? [] });
      return;
    }
    const seconds = (atMs - track.atMs) / 1000;
    if (seconds < 0.2) return;
    track.perS.push((entries - track.entries) / seconds);
    if (track.perS.length > POINTS_MAX) track.perS.shift();
    track.atMs = atMs;
    track.entries = entries;
  }
}

/** The mean of the newest points; null where there are none. */
export function smoothed(points: readonly number[]): number | null {
  const newest = points.slice(-SMOOTH_POINTS);
  if (newest.length === 0) return null;
  return newest.reduce((sum, value) => sum + value, 0) / newest.length;
}
