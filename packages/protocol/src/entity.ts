/**
 * The types that head the domain: what an entity is.
 *
 * - An *entity* names the mapping of one MongoDB collection to one SQLite table.
 * - Its *shape* says which fields become which columns, and which columns are indexed.
 * - A changed shape makes a new *version* of the entity, with an id of its own; `Entity.id` is that version's id.
 */

/** How a column is stored in SQLite; the mapping from each BSON type is the table "Types" in docs/03-entities.md. */
export type ColumnType = "string" | "integer" | "number" | "bool" | "jsonb" | "any";

/** All column types, in the order in which messages list them. */
export const COLUMN_TYPES = ["string", "integer", "number", "bool", "jsonb", "any"] as const satisfies ColumnType[];

/** How the primary key is stored: TEXT or INTEGER. */
export type IdColumnType = "string" | "number";

/** All id column types, in the order in which messages list them. */
export const ID_COLUMN_TYPES = ["string", "number"] as const satisfies IdColumnType[];

/** The primary key of the table, always named `id` there. */
export interface IdColumn {
  /** RFC 9535 JSONPath: `$._id`, or a path inside `_id`. */
  readonly path: string;
  readonly type: IdColumnType;
}

/** One column of the table. */
export interface Column {
  readonly name: string;
  readonly type: ColumnType;
  /** RFC 9535 JSONPath into the document. No match is NULL, of several matches the first is taken. */
  readonly path: string;
}

/** One index of the table, over one or more of its columns. */
export interface Index {
  readonly name: string;
  readonly columns: readonly string[];
}

/** How documents become rows. */
export interface Shape {
  readonly id_column: IdColumn;
  readonly columns: readonly Column[];
  readonly indexes: readonly Index[];
}

/** What an operator writes to create or change an entity. */
export interface EntityDefinition {
  readonly name: string;
  /** Name of a configured source (`[sources.NAME]`). */
  readonly client: string;
  /** Name of the collection in that source's database. */
  readonly source: string;
  readonly shape: Shape;
}

/** One version of an entity, as it was registered. */
export interface Entity extends EntityDefinition {
  /** Id of this version; unique over all entities and never used again. */
  readonly id: number;
  /** RFC 3339, UTC with `Z`. */
  readonly created_at: string;
}
