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

/**
 * What happens with a value or a document that can't be mapped; it becomes a reject in each case.
 * `null`: the value is NULL. `skip_document`: the document has no row. `stop`: the entity stops until it is told to go on.
 */
export type OnReject = "null" | "skip_document" | "stop";

/** All of them, in the order in which messages list them; the first is the default. */
export const ON_REJECT = ["null", "skip_document", "stop"] as const satisfies OnReject[];

/** What happens when the collection is dropped or renamed away: the entity is emptied, or keeps its rows and is stale. */
export type OnDrop = "empty" | "keep";

/** Both, in the order in which messages list them; the first is the default. */
export const ON_DROP = ["empty", "keep"] as const satisfies OnDrop[];

/** A simple MongoDB query as Extended JSON; what "simple" is, says docs/03-entities.md. */
export type DocumentFilter = Readonly<Record<string, unknown>>;

/** What an operator writes to create or change an entity. */
export interface EntityDefinition {
  readonly name: string;
  /** Name of a configured source (`[sources.NAME]`). */
  readonly client: string;
  /** Name of the collection in that source's database. */
  readonly source: string;
  readonly shape: Shape;
  /** Only documents that match have a row; one that matches no more is a delete. Absent: all. */
  readonly filter?: DocumentFilter;
  /** Default: `null`. */
  readonly on_reject?: OnReject;
  /** Default: `empty`. */
  readonly on_drop?: OnDrop;
}

/** One version of an entity, as it was registered. */
export interface Entity extends EntityDefinition {
  /** Id of this version; unique over all entities and never used again. */
  readonly id: number;
  /** RFC 3339, UTC with `Z`. */
  readonly created_at: string;
}
