import type { ClusterTime } from "./cluster-time.ts";
import type { Horizon, StreamProgress } from "./stream-progress.ts";

/** Ids that are remembered one by one; beyond, one horizon stands for all. About 100 bytes each. */
const IDS_MAX = 100_000;

interface Generation {
  readonly horizon: Horizon;
  /** Null stands for every id. */
  readonly ids: ReadonlySet<string> | null;
}

/**
 * Which documents the log already shows in a state from the stream's future (architecture, "Full documents"): a
 * looked-up state is newer than its event, by at most the `H` of the reply that carried it. Until the stream has
 * passed that `H`, an event of such a document at or before it is old news and must not be logged as it came.
 */
export class LookupHorizons {
  #generations: Generation[] = [];

  /** After a resume: the greatest horizon that was open at the checkpoint holds for every document. */
  static resumed(time: ClusterTime | null, progress: StreamProgress): LookupHorizons {
    const horizons = new LookupHorizons();
    if (time !== null) horizons.#generations.push({ horizon: progress.horizonOf(time), ids: null });
    return horizons;
  }

  /** The documents' looked-up states are about to be logged. */
  add(ids: ReadonlySet<string>, horizon: Horizon): void {
    this.#generations.push({ horizon, ids });
    const count = this.#generations.reduce((sum, generation) => sum + (generation.ids?.size ?? 0), 0);
    if (count <= IDS_MAX) return;
    const time = this.greatest() ?? horizon.time;
    this.#generations = [{ horizon: { time, requestCount: horizon.requestCount }, ids: null }];
  }

  /** The latest time up to which the log may already show this document; null if the log shows only the past. */
  of(id: string): ClusterTime | null {
    let latest: ClusterTime | null = null;
    for (const { horizon, ids } of this.#generations) {
      if (ids !== null && !ids.has(id)) continue;
      if (latest === null || horizon.time > latest) latest = horizon.time;
    }
    return latest;
  }

  /** Forgets what the stream has passed. */
  prune(progress: StreamProgress): void {
    if (this.#generations.length === 0) return;
    this.#generations = this.#generations.filter(({ horizon }) => !progress.hasPassed(horizon));
  }

  /** The greatest open horizon, for the checkpoint. */
  greatest(): ClusterTime | null {
    let greatest: ClusterTime | null = null;
    for (const { horizon } of this.#generations) {
      if (greatest === null || horizon.time > greatest) greatest = horizon.time;
    }
    return greatest;
  }
}
