import type { CopyCheckpoint } from "./capture-log.ts";
import type { LogRow, Reject } from "./log-row.ts";

/** What one unit brings, its deferred rows made. */
export interface MadeUnit {
  readonly rows: readonly LogRow[];
  readonly rejects: readonly Reject[];
  readonly copies: readonly CopyCheckpoint[];
  /** Versions that a reject of this unit stops; their rows end before it. */
  readonly stops: ReadonlySet<number>;
}

/**
 * Keeps what comes after a version's stop out of the log, until a new copy of it begins. It stands where the order of
 * the log is made, because a copy's rows are made only there: its later chunks, and its end, are waiting already when
 * a reject is found.
 */
export class StopGate {
  readonly #stopped = new Set<number>();

  /** What of the unit may be logged. `onStop` gives the state that is logged with a stop; null for none. */
  pass(unit: MadeUnit, onStop: (version: number) => CopyCheckpoint | null): MadeUnit {
    for (const { operation, version } of unit.rows) if (operation === "sync_start") this.#stopped.delete(version);
    if (this.#stopped.size === 0 && unit.stops.size === 0) return unit;
    const isOpen = ({ version }: { readonly version: number }): boolean => !this.#stopped.has(version);
    const rows = unit.rows.filter(isOpen);
    const rejects = unit.rejects.filter(isOpen);
    const stops = new Set([...unit.stops].filter((version) => !this.#stopped.has(version)));
    for (const version of stops) this.#stopped.add(version);
    const halted = [...stops].map(onStop).filter((copy) => copy !== null);
    return { rows, rejects, stops, copies: [...unit.copies.filter(isOpen), ...halted] };
  }
}
