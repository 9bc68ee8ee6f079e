import type { Column, ColumnType, Entity, Shape } from "@emcache/protocol";
import type { Database } from "better-sqlite3";
import { quoteIdentifier } from "./quote-identifier.ts";
import { damagedError } from "./sqlite-error.ts";

/** The two tables of rows: what readers see, and what a copy fills beside it. */
export type RowTable = "data" | "data_sync";

/**
 * Declared type of each column type. `any` has none: a declared type would give it an affinity, and text `123` would
 * become a number.
 */
const DECLARED_TYPES: Readonly<Record<ColumnType, string>> = {
  string: "TEXT",
  jsonb: "TEXT",
  integer: "INTEGER",
  bool: "INTEGER",
  number: "REAL",
  any: "",
};

function idDeclaration(shape: Shape): string {
  return shape.id_column.type === "number" ? '"id" INTEGER PRIMARY KEY' : '"id" TEXT PRIMARY KEY NOT NULL';
}

function columnDeclaration(column: Column): string {
  return `${quoteIdentifier(column.name)} ${DECLARED_TYPES[column.type]}`.trim();
}

/**
 * Creates an empty table of the shape. Not STRICT, because EMCache's Go client binds JSON bytes and floats. Not WITHOUT
 * ROWID: random text ids load 3 times as fast with a rowid (140–170 k rows/s against 45–55 k, 300-byte rows; ids in
 * order are equal), because the tree that random ids touch holds no rows.
 */
export function createRowTable(database: Database, table: RowTable, shape: Shape): void {
  const declarations = [idDeclaration(shape), ...shape.columns.map(columnDeclaration)];
  database.exec(`CREATE TABLE ${quoteIdentifier(table)} (${declarations.join(", ")})`);
}

/** Creates the shape's indexes on `data`. */
function createIndexes(database: Database, shape: Shape): void {
  for (const index of shape.indexes) {
    const columns = index.columns.map(quoteIdentifier).join(", ");
    database.exec(`CREATE INDEX ${quoteIdentifier(index.name)} ON "data" (${columns})`);
  }
}

function createView(database: Database, entity: Entity): void {
  database.exec(`CREATE VIEW ${quoteIdentifier(entity.name)} AS SELECT * FROM "data"`);
}

/** Creates all tables, the indexes and the view of a new file. */
export function createSchema(database: Database, entity: Entity): void {
  database.exec('CREATE TABLE "metadata" (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT');
  createRowTable(database, "data", entity.shape);
  createRowTable(database, "data_sync", entity.shape);
  // One table for both row tables, so that the switch renames no third one. `type` is a class of BSON types.
  database.exec(
    `CREATE TABLE "id_types" ("table_name" TEXT NOT NULL, "id" ${entity.shape.id_column.type === "number" ? "INTEGER" : "TEXT"} NOT NULL, ` +
      '"type" INTEGER NOT NULL, PRIMARY KEY ("table_name", "id")) WITHOUT ROWID',
  );
  createIndexes(database, entity.shape);
  createView(database, entity);
}

/**
 * Makes `data_sync` the table `data`, with the shape's indexes, and an empty `data_sync` beside it. Runs inside the
 * caller's transaction, so readers see all of it or nothing.
 *
 * The view goes first: SQLite rewrites a view when its table is renamed. The indexes are built here, after the load,
 * which is faster than to keep them while the copy runs; their names are free by then, since dropping the old table
 * dropped its own (index names are global in a file).
 */
export function switchTables(database: Database, entity: Entity): void {
  database.exec(`DROP VIEW IF EXISTS ${quoteIdentifier(entity.name)}`);
  database.exec('DROP TABLE "data"');
  database.exec('ALTER TABLE "data_sync" RENAME TO "data"');
  createIndexes(database, entity.shape);
  createRowTable(database, "data_sync", entity.shape);
  createView(database, entity);
  database.exec(`DELETE FROM "id_types" WHERE "table_name" = 'data'`);
  database.exec(`UPDATE "id_types" SET "table_name" = 'data' WHERE "table_name" = 'data_sync'`);
}

/** Empties a row table: SQLite drops its pages without looking at rows (no WHERE, no trigger). */
export function emptyTable(database: Database, table: RowTable): void {
  database.exec(`DELETE FROM ${quoteIdentifier(table)}`);
  database.prepare('DELETE FROM "id_types" WHERE "table_name" = ?').run(table);
}

interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly pk: number;
}

function expectedColumns(shape: Shape): ColumnInfo[] {
  const id = { name: "id", type: shape.id_column.type === "number" ? "INTEGER" : "TEXT", pk: 1 };
  const columns = shape.columns.map(({ name, type }) => ({ name, type: DECLARED_TYPES[type], pk: 0 }));
  return [id, ...columns];
}

function indexColumns(database: Database, index: string): string {
  const rows = database.prepare<[string], { name: string }>("SELECT name FROM pragma_index_info(?) ORDER BY seqno");
  return JSON.stringify(rows.all(index).map((row) => row.name));
}

/**
 * Checks that the file has the tables, columns, indexes and the view of the entity. What was added beside them is
 * nobody's harm. Throws `cache_damaged`.
 */
export function checkSchema(database: Database, entity: Entity): void {
  const columnsOf = database.prepare<[string], ColumnInfo>(
    "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid",
  );
  for (const table of ["data", "data_sync"]) {
    if (JSON.stringify(columnsOf.all(table)) !== JSON.stringify(expectedColumns(entity.shape))) {
      throw damagedError(database.name, `the columns of table ${table} are not those of the entity's shape`, "schema");
    }
  }
  if (columnsOf.all("id_types").length === 0) throw damagedError(database.name, "it has no table id_types", "schema");
  for (const index of entity.shape.indexes) {
    if (indexColumns(database, index.name) !== JSON.stringify(index.columns)) {
      throw damagedError(database.name, `index ${index.name} is missing or changed`, "schema");
    }
  }
  const view = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?").get(entity.name);
  if (view === undefined) throw damagedError(database.name, `it has no view ${entity.name}`, "schema");
}
