import { realpathSync } from "node:fs";
import Database from "better-sqlite3";
import type { Collection } from "mongodb";
import { readBson } from "./bson-node.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { EntityRequest } from "./emcache-api.ts";
import { compilePath, mapCell, mapId, realCellText } from "./oracle-mapping.ts";

/** Differences that a message lists; more are only counted. */
const DIFFERENCES_SHOWN = 12;

/** What a cache should hold, computed from MongoDB by code that the pipeline shares nothing with. */
export interface ExpectedTable {
  /** Cells by primary key. Where several documents have the same key (ids of different types), one of them is right. */
  readonly rows: ReadonlyMap<string, readonly (readonly string[])[]>;
  readonly documents: number;
  /** Values and documents that can't be mapped; of documents with equal keys all but one. */
  readonly rejects: number;
}

/** What `compareCache` found. */
export interface Comparison {
  readonly isEqual: boolean;
  /** In words, for a failing test. */
  readonly report: string;
  readonly rows: number;
  readonly position: number;
  readonly mode: string;
}

/** Reads the whole collection and maps it by the table "Types". */
export async function expectedTable(
  collection: Collection,
  entity: Pick<EntityRequest, "shape">,
): Promise<ExpectedTable> {
  const documents = collection.find({}, { raw: true, batchSize: 5_000, readConcern: "majority" });
  return expectedOf(documents as unknown as AsyncIterable<Uint8Array>, entity);
}

/** Maps documents, given as BSON, by the table "Types". */
export async function expectedOf(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  entity: Pick<EntityRequest, "shape">,
): Promise<ExpectedTable> {
  const { id_column: idColumn, columns } = entity.shape;
  const idPath = compilePath(idColumn.path);
  const readers = columns.map((column) => ({ type: column.type, find: compilePath(column.path) }));
  const rows = new Map<string, string[][]>();
  let documents = 0;
  /** Keys and columns of refused values: two documents of one key are one place for an operator. */
  const refused = new Set<string>();
  for await (const bytes of source) {
    documents += 1;
    const document = readBson(bytes);
    const id = mapId(idColumn.type, idPath(document));
    if (id === null) {
      refused.add(`document ${documents}`);
      continue;
    }
    const cells = readers.map(({ type, find }) => mapCell(type, find(document)));
    for (const [index, cell] of cells.entries()) if (cell.isRejected) refused.add(`${index} ${id}`);
    const row = cells.map(({ cell }) => cell);
    const same = rows.get(id);
    if (same === undefined) rows.set(id, [row]);
    else {
      same.push(row);
      refused.add(`key ${id}`);
    }
  }
  return { rows, documents, rejects: refused.size };
}

/** Compares a cache file with what it should hold: every row, every value, its SQLite type included. */
export function compareCache(file: string, entity: EntityRequest, expected: ExpectedTable): Comparison {
  const database = openCache(file);
  try {
    return database.transaction(() => compareOpened(database, entity, expected))();
  } finally {
    database.close();
  }
}

/** Opens the file that a cache's name points to now. */
export function openCache(file: string): Database.Database {
  const database = new Database(realpathSync(file), { readonly: true });
  database.defaultSafeIntegers(true);
  return database;
}

function compareOpened(database: Database.Database, entity: EntityRequest, expected: ExpectedTable): Comparison {
  const differences: string[] = [];
  let differenceCount = 0;
  const differ = (text: string): void => {
    differenceCount += 1;
    if (differences.length < DIFFERENCES_SHOWN) differences.push(text);
  };
  const names = entity.shape.columns.map((column) => column.name);
  const select = ["id", ...names].map((name) => `"${name.replaceAll('"', '""')}"`).join(", ");
  const seen = new Set<string>();
  for (const values of database.prepare(`SELECT ${select} FROM data`).raw().iterate() as Iterable<unknown[]>) {
    const id = String(values[0]);
    if (typeof values[0] !== (entity.shape.id_column.type === "string" ? "string" : "bigint")) {
      differ(`row ${id}: its id is stored as ${cellText(values[0])}`);
    }
    const candidates = expected.rows.get(id);
    seen.add(id);
    if (candidates === undefined) {
      differ(`row ${id} is in the cache and not in MongoDB: ${values.map(cellText).join(", ")}`);
      continue;
    }
    if (!candidates.some((cells) => cells.every((cell, index) => isCell(values[index + 1], cell)))) {
      const nearest = candidates[0] ?? [];
      const wrong = names.filter((_, index) => !isCell(values[index + 1], nearest[index] ?? ""));
      const shown = wrong.map((name) => {
        const index = names.indexOf(name);
        return `${name} is ${cellText(values[index + 1])}, should be ${nearest[index]}`;
      });
      differ(`row ${id}: ${shown.join("; ")}`);
    }
  }
  for (const id of expected.rows.keys()) if (!seen.has(id)) differ(`row ${id} is in MongoDB and not in the cache`);
  const metadata = readMetadata(database);
  return {
    isEqual: differenceCount === 0,
    report:
      `${file(database)}: ${seen.size} rows, expected ${expected.rows.size}; ${differenceCount} differences; ` +
      `mode ${metadata.mode}, position ${metadata.position}\n${differences.join("\n")}`,
    rows: seen.size,
    ...metadata,
  };
}

/** The cache's own word on where it stands. */
export function readMetadata(database: Database.Database): { position: number; mode: string } {
  const get = database.prepare("SELECT value FROM metadata WHERE key = ?").pluck();
  return { position: Number(get.get("max_oplog_id")), mode: String(get.get("mode")) };
}

function file(database: Database.Database): string {
  return database.name.split("/").at(-1) ?? database.name;
}

function isCell(value: unknown, cell: string): boolean {
  if (!cell.startsWith("JSON:")) return cellText(value) === cell;
  if (typeof value !== "string") return false;
  try {
    return `JSON:${canonicalJson(value)}` === cell;
  } catch {
    return false;
  }
}

/** A value that SQLite returned, with its storage class. */
function cellText(value: unknown): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value === "bigint") return `INTEGER:${value}`;
  if (typeof value === "number") return `REAL:${realCellText(value)}`;
  if (typeof value === "string") return `TEXT:${value}`;
  return `BLOB:${Buffer.from(value as Uint8Array).toString("hex")}`;
}
