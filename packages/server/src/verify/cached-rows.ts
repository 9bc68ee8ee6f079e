import { statSync } from "node:fs";
import { openReader, quoteIdentifier, type SqliteValue } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";

/** One row of the cache. */
export interface CachedRow {
  readonly rowId: bigint;
  readonly docId: string;
  /** Class of the BSON type of its id. */
  readonly idClass: number;
  /** One a column. */
  readonly values: readonly SqliteValue[];
}

type RawRow = [rowId: bigint, id: string | bigint, type: bigint | null, ...values: SqliteValue[]];

/** SQLite's names of the row's number; a column of one of these names hides it. */
const ROW_ID_NAMES = ["rowid", "_rowid_", "oid"];

/** Reads the served table of one cache file, by many short read transactions. */
export class CachedRows {
  /** Another one where the file was replaced, or its table switched: rows have other numbers then. */
  readonly identity: string;
  readonly #database: ReturnType<typeof openReader>;
  readonly #isNumberId: boolean;
  readonly #find: (id: string | bigint) => RawRow | undefined;
  readonly #pageAfter: (rowId: bigint | null, limit: number) => RawRow[];

  constructor(path: string, entity: Entity) {
    this.#database = openReader(path);
    this.#database.defaultSafeIntegers(true);
    this.#isNumberId = entity.shape.id_column.type === "number";
    this.identity = `${statSync(path).ino} ${this.#metadata("switched_start_id")}`;
    const names = entity.shape.columns.map(({ name }) => name);
    const rowId = ROW_ID_NAMES.find((name) => !names.some((column) => column.toLowerCase() === name));
    if (rowId === undefined) {
      throw new EmcacheError("verification_not_ready", `${entity.name} has columns ${ROW_ID_NAMES.join(", ")}`, {
        hint: "Rename one of these columns: SQLite can't number the rows of a table that has all of them.",
      });
    }
    const columns = [`d.${rowId}`, 'd."id"', 't."type"', ...names.map((name) => `d.${quoteIdentifier(name)}`)];
    const select =
      `SELECT ${columns.join(", ")} FROM "data" d ` +
      `LEFT JOIN "id_types" t ON t."table_name" = 'data' AND t."id" = d."id"`;
    const find = this.#database.prepare<[string | bigint], RawRow>(`${select} WHERE d."id" = ?`).raw();
    this.#find = (id) => find.get(id);
    const order = `ORDER BY d.${rowId} LIMIT ?`;
    const first = this.#database.prepare<[number], RawRow>(`${select} ${order}`).raw();
    const next = this.#database.prepare<[bigint, number], RawRow>(`${select} WHERE d.${rowId} > ? ${order}`).raw();
    this.#pageAfter = (after, limit) => (after === null ? first.all(limit) : next.all(after, limit));
  }

  /** The rows of these ids, in one state of the file. */
  find(docIds: readonly string[]): Map<string, CachedRow> {
    const rows = new Map<string, CachedRow>();
    this.#read((mainClass) => {
      for (const docId of docIds) {
        const row = this.#find(this.#isNumberId ? BigInt(docId) : docId);
        if (row !== undefined) rows.set(docId, cachedRow(row, mainClass));
      }
    });
    return rows;
  }

  /** The next rows in the order of their numbers; `after` null for the first ones. */
  page(after: bigint | null, limit: number): CachedRow[] {
    return this.#read((mainClass) => this.#pageAfter(after, limit).map((row) => cachedRow(row, mainClass)));
  }

  close(): void {
    this.#database.close();
  }

  #read<T>(read: (mainClass: number) => T): T {
    return this.#database.transaction(() => read(Number(this.#metadata("id_type"))))();
  }

  #metadata(key: string): string {
    const row = this.#database
      .prepare<[string], [string | bigint]>('SELECT value FROM "metadata" WHERE key = ?')
      .raw()
      .get(key);
    return String(row?.[0] ?? "0");
  }
}

function cachedRow([rowId, id, type, ...values]: RawRow, mainClass: number): CachedRow {
  return { rowId, docId: String(id), idClass: type === null ? mainClass : Number(type), values };
}
