import { readFileSync } from "node:fs";

const MIB = 1024 * 1024;

/** Until then caches, pools and heaps are still growing to their working size. */
const WARM_UP_SHARE = 0.25;

/** Resident memory of one process over time. */
export class MemorySeries {
  readonly #samples: { readonly atMs: number; readonly mib: number }[] = [];

  /** Reads it now; a process that has ended leaves no sample. */
  sample(pid: number): void {
    const kib = residentKib(pid);
    if (kib !== null) this.#samples.push({ atMs: performance.now(), mib: (kib * 1024) / MIB });
  }

  get last(): number {
    return Math.round(this.#samples.at(-1)?.mib ?? 0);
  }

  get most(): number {
    return Math.round(Math.max(0, ...this.#samples.map(({ mib }) => mib)));
  }

  /** Slope of the line of least squares after the warm-up, in MiB a minute; null with too few samples. */
  slopeMibPerMinute(): number | null {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined) return null;
    const fromMs = first.atMs + (last.atMs - first.atMs) * WARM_UP_SHARE;
    const points = this.#samples
      .filter(({ atMs }) => atMs >= fromMs)
      .map(({ atMs, mib }) => [atMs / 60_000, mib] as const);
    if (points.length < 10) return null;
    const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
    const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
    const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
    const variance = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
    return variance === 0 ? null : covariance / variance;
  }
}

function residentKib(pid: number): number | null {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) || null;
  } catch {
    return null;
  }
}
