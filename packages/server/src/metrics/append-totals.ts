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
  readonly #totals = new Map<string, AppendTotal>();

  add(rows: readonly LogRow[]): void {
    for (const { version, origin, data } of rows) {
      const key = `${origin} ${version}`;
      const total = this.#totals.get(key) ?? { version, origin, rows: 0, bytes: 0 };
      total.rows += 1;
      total.bytes += data?.length ?? 0;
      this.#totals.set(key, total);
    }
  }

  /** Only these versions are still of interest. */
  keep(versions: ReadonlySet<number>): void {
    for (const [key, { version }] of this.#totals) if (!versions.has(version)) this.#totals.delete(key);
  }

  all(): readonly AppendTotal[] {
    return [...this.#totals.values()];
  }
}
