import type { Origin } from "@emcache/protocol";
import type { LogRow } from "../source/log-row.ts";

/** What was appended of one version from one origin. */
export interface AppendTotal {
  readonly version: number;
  readonly origin: Origin;
  rows: number;
  bytes: number;
}

/** Counts what this process appends to the log. */
export class AppendTotals {
  readonly #totals = new Map<number, Record<Origin, AppendTotal>>();

  add(rows: readonly LogRow[]): void {
    for (const { version, origin, data } of rows) {
      let totals = this.#totals.get(version);
      if (totals === undefined) {
        totals = {
          stream: { version, origin: "stream", rows: 0, bytes: 0 },
          copy: { version, origin: "copy", rows: 0, bytes: 0 },
        };
        this.#totals.set(version, totals);
      }
      const total = totals[origin];
      total.rows += 1;
      total.bytes += data?.length ?? 0;
    }
  }

  /** Only these versions are still of interest. */
  keep(versions: ReadonlySet<number>): void {
    for (const version of this.#totals.keys()) if (!versions.has(version)) this.#totals.delete(version);
  }

  all(): readonly AppendTotal[] {
    return [...this.#totals.values()].flatMap(({ stream, copy }) => [stream, copy]);
  }
}
