import type { SnapshotOplog } from "./snapshot-dependencies.ts";

/** Rows read at once to be counted. */
const PAGE_ROWS = 1000;

/** Counts an entity version's entries since its last snapshot, each of them once, up to what makes a new one due. */
export class EntryCounter {
  readonly #oplog: SnapshotOplog;
  readonly #counts = new Map<number, { readonly since: number; readonly position: number; readonly entries: number }>();

  constructor(oplog: SnapshotOplog) {
    this.#oplog = oplog;
  }

  /** How many entries the version has after `since` and up to `until`; counted up to `wanted`. */
  async count(version: number, since: number, until: number, wanted: number, signal: AbortSignal): Promise<number> {
    const known = this.#counts.get(version);
    let { position, entries } = known?.since === since ? known : { position: since, entries: 0 };
    while (entries < wanted && position < until) {
      const page = await this.#oplog.page({
        after: position,
        limit: Math.min(PAGE_ROWS, wanted - entries),
        versions: [version],
        signal,
      });
      entries += page.rows.length;
      if (page.position <= position) break;
      position = page.position;
    }
    this.#counts.set(version, { since, position, entries });
    return entries;
  }

  /** Forgets versions that are not asked for any more. */
  keepOnly(versions: ReadonlySet<number>): void {
    for (const version of this.#counts.keys()) if (!versions.has(version)) this.#counts.delete(version);
  }
}
