import type { CacheStatus } from "../cache/cache-status.ts";
import type { AppendedBatch, CaptureBatch } from "../source/capture-log.ts";

/** Appends of one version that wait for its cache; further ones are not measured while a cache is so far behind. */
const WAITING_MAX = 1_000;

interface Waiting {
  readonly position: number;
  readonly sourceTimeMs: number;
}

/** Measures how long changes take from their commit in the source to that in a cache of this process. */
export class ReplicationLatency {
  readonly #observe: (version: number, seconds: number) => void;
  readonly #waiting = new Map<number, Waiting[]>();

  constructor(observe: (version: number, seconds: number) => void) {
    this.#observe = observe;
  }

  /** This process has appended a batch whose oldest change happened at `sourceTimeMs`. */
  appended({ rows }: CaptureBatch, { firstPosition }: AppendedBatch, sourceTimeMs: number): void {
    const positions = new Map<number, number>();
    for (const [number, { version, origin }] of rows.entries()) {
      if (origin === "stream") positions.set(version, firstPosition + number);
    }
    for (const [version, position] of positions) {
      const waiting = this.#waiting.get(version) ?? [];
      if (waiting.length < WAITING_MAX) waiting.push({ position, sourceTimeMs });
      this.#waiting.set(version, waiting);
    }
  }

  /** Caches tell where they are. */
  applied(statuses: ReadonlyMap<number, CacheStatus>): void {
    for (const [version, waiting] of this.#waiting) {
      const status = statuses.get(version);
      if (status === undefined || !status.isVerified || status.appliedAt === 0) continue;
      const reached = waiting.filter(({ position }) => position <= status.position);
      if (reached.length === 0) continue;
      this.#waiting.set(version, waiting.slice(reached.length));
      // The clocks are those of two machines.
      for (const { sourceTimeMs } of reached) {
        this.#observe(version, Math.max(0, status.appliedAt - sourceTimeMs) / 1000);
      }
    }
  }

  /** Only these versions are still of interest. */
  keep(versions: ReadonlySet<number>): void {
    for (const version of this.#waiting.keys()) if (!versions.has(version)) this.#waiting.delete(version);
  }
}
