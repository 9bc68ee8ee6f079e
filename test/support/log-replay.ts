import type { EmcacheApi } from "./emcache-api.ts";

/** Rows read at once. */
const PAGE_ROWS = 10_000;

interface ReplayedEntry {
  readonly id: number;
  readonly operation: "upsert" | "delete" | "sync_start" | "sync_end";
  readonly doc_id: string;
  readonly origin: "copy" | "stream";
  readonly data: readonly unknown[] | null;
}

/**
 * What an entity's log says that its table holds, at one position after the other: an interpreter of the log of the
 * tests' own, which applies one entry at a time.
 */
export class LogReplay {
  /** First cell of each row, by primary key. */
  #live = new Map<string, unknown>();
  #copied: Map<string, unknown> | null = null;
  readonly #entries: readonly ReplayedEntry[];
  #next = 0;

  private constructor(entries: readonly ReplayedEntry[]) {
    this.#entries = entries;
  }

  /** Reads the whole log of an entity's served version. */
  static async read(api: EmcacheApi, entity: string): Promise<LogReplay> {
    const entries: ReplayedEntry[] = [];
    let after = "";
    for (;;) {
      const page = await api.call<{ entries: ReplayedEntry[]; position: number; has_more: boolean }>(
        "GET",
        `/api/oplogs/${entity}?limit=${PAGE_ROWS}${after}`,
      );
      entries.push(...page.entries);
      if (!page.has_more) return new LogReplay(entries);
      after = `&after=${page.position}`;
    }
  }

  /** The table at `position`, which must not be lower than the last one asked for: first column by primary key. */
  tableAt(position: number): ReadonlyMap<string, unknown> {
    for (;;) {
      const entry = this.#entries[this.#next];
      if (entry === undefined || entry.id > position) return this.#live;
      this.#apply(entry);
      this.#next += 1;
    }
  }

  #apply({ operation, doc_id: id, origin, data }: ReplayedEntry): void {
    const tables =
      this.#copied === null ? [this.#live] : origin === "copy" ? [this.#copied] : [this.#live, this.#copied];
    switch (operation) {
      case "upsert":
        for (const table of tables) table.set(id, data?.[0]);
        return;
      case "delete":
        for (const table of tables) table.delete(id);
        return;
      case "sync_start":
        this.#copied = new Map();
        return;
      case "sync_end":
        if (this.#copied === null) throw new Error("sync_end without sync_start");
        this.#live = this.#copied;
        this.#copied = null;
    }
  }
}
