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
  readonly #api: EmcacheApi;
  readonly #entity: string;
  /** Read, not applied yet. */
  #entries: ReplayedEntry[] = [];
  #next = 0;
  #after = "";

  private constructor(api: EmcacheApi, entity: string) {
    this.#api = api;
    this.#entity = entity;
  }

  /** Reads the whole log of an entity's served version. */
  static async read(api: EmcacheApi, entity: string): Promise<LogReplay> {
    const replay = new LogReplay(api, entity);
    await replay.readOn();
    return replay;
  }

  /** Reads what the log has got since it was last read. */
  async readOn(): Promise<void> {
    this.#entries = this.#entries.slice(this.#next);
    this.#next = 0;
    for (let hasMore = true; hasMore;) {
      const page = await this.#api.call<{ entries: ReplayedEntry[]; position: number; has_more: boolean }>(
        "GET",
        `/api/oplogs/${this.#entity}?limit=${PAGE_ROWS}${this.#after}`,
      );
      this.#entries.push(...page.entries);
      this.#after = `&after=${page.position}`;
      hasMore = page.has_more;
    }
  }

  /** Position of the last entry that was read. */
  get lastPosition(): number {
    return this.#entries.at(-1)?.id ?? 0;
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
