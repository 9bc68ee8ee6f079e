import type { CopyCheckpoint } from "../source/capture-log.ts";

/** Long enough to even out a copy's steps, short enough to follow a change of its pace. */
const WINDOW_MS = 60_000;

interface Sample {
  readonly copyId: string;
  readonly rowCount: number;
  readonly atMs: number;
}

/** How fast copies go, from looks at them every few seconds. */
export class CopySpeed {
  readonly #samples = new Map<number, Sample[]>();

  /** @param nowMs monotonic */
  look(copies: Iterable<CopyCheckpoint>, nowMs: number): void {
    const running = new Set<number>();
    for (const { version, copyId, rowCount, state } of copies) {
      if (state !== "running") continue;
      running.add(version);
      const known = this.#samples.get(version) ?? [];
      const samples = known.filter((sample) => sample.copyId === copyId && nowMs - sample.atMs <= WINDOW_MS);
      this.#samples.set(version, [...samples, { copyId, rowCount, atMs: nowMs }]);
    }
    for (const version of this.#samples.keys()) if (!running.has(version)) this.#samples.delete(version);
  }

  /** Seconds until a running copy is done; null while its speed or its size is not known. */
  etaS({ version, copyId, rowCount, rowCountEstimate, state }: CopyCheckpoint, nowMs: number): number | null {
    const first = this.#samples.get(version)?.[0];
    if (state !== "running" || rowCountEstimate === 0 || first === undefined || first.copyId !== copyId) return null;
    const rowsPerMs = (rowCount - first.rowCount) / (nowMs - first.atMs);
    if (!(rowsPerMs > 0) || !Number.isFinite(rowsPerMs)) return null;
    return Math.max(0, rowCountEstimate - rowCount) / rowsPerMs / 1000;
  }
}
