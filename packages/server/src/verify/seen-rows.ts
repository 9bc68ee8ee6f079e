import Database from "better-sqlite3";

/** Memory for pages; beyond it the set lies in a file that has no name and goes with the process. */
const CACHE_KIB = 8 * 1024;

/** Which rows of a cache were met: a set of row numbers that may be larger than the memory. */
export class SeenRows {
  readonly #database = new Database("");
  readonly #add;
  readonly #has;

  constructor() {
    this.#database.pragma("journal_mode = OFF");
    this.#database.pragma("synchronous = OFF");
    this.#database.pragma(`cache_size = -${CACHE_KIB}`);
    this.#database.exec("CREATE TABLE seen (row_id INTEGER PRIMARY KEY)");
    this.#add = this.#database.prepare<[bigint]>("INSERT OR IGNORE INTO seen VALUES (?)");
    this.#has = this.#database.prepare<[bigint]>("SELECT 1 FROM seen WHERE row_id = ?");
  }

  add(rowIds: Iterable<bigint>): void {
    this.#database.transaction(() => {
      for (const rowId of rowIds) this.#add.run(rowId);
    })();
  }

  has(rowId: bigint): boolean {
    return this.#has.get(rowId) !== undefined;
  }

  close(): void {
    this.#database.close();
  }
}
