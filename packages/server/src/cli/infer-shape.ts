import type { Column, ColumnType, EntityDefinition, Index } from "@emcache/protocol";
import { compileRowMapper } from "../entity/row-mapper.ts";
import { DocumentFields, type FieldFacts, type ValueKind } from "./document-fields.ts";

/** More columns are rarely wanted, and each one can be added. */
const COLUMNS_MAX = 200;
const NAME_CHARS_MAX = 63;

/** A proposed column and what was found in its place. */
export interface InferredColumn extends Column {
  /** Documents that have a value there. */
  readonly found: number;
  readonly kinds: readonly ValueKind[];
}

export interface Inferred {
  readonly definition: EntityDefinition;
  readonly columns: readonly InferredColumn[];
}

type Names = Pick<EntityDefinition, "name" | "client" | "source">;

/**
 * Proposes a definition whose columns take every value of these documents: the plainest type for what was found, then
 * held against the mapper that the server uses, and widened where it refuses a value.
 *
 * @param documents BSON
 * @param indexes fields of the collection's own indexes; those over proposed columns become indexes
 */
export function inferShape(
  names: Names,
  documents: readonly Buffer[],
  indexes: readonly (readonly string[])[],
): Inferred {
  const fields = new DocumentFields();
  for (const document of documents) fields.add(document);
  const taken = new Set(["id"]);
  let columns = fields
    .leaves()
    .slice(0, COLUMNS_MAX)
    .map((field) => ({
      name: columnName(field.steps, taken),
      type: typeFor(field),
      path: jsonPath(field.steps),
      found: field.found,
      kinds: [...field.kinds],
    }));
  const idKinds = fields.idKinds();
  const idType = [...idKinds].every((kind) => kind === "Int32" || kind === "Int64") ? "number" : "string";
  const definitionWith = (shapeColumns: readonly Column[]): EntityDefinition => ({
    ...names,
    shape: {
      id_column: { path: "$._id", type: idType },
      columns: shapeColumns.map(({ name, type, path }) => ({ name, type, path })),
      indexes: indexesOver(columns, indexes),
    },
  });
  for (const wider of ["any", "jsonb"] as const) {
    const refused = refusedColumns(definitionWith(columns), documents);
    if (refused.size === 0) break;
    columns = columns.map((column) => (refused.has(column.name) ? { ...column, type: wider } : column));
  }
  return { definition: definitionWith(columns), columns };
}

/** Names of columns that refuse a value of a document. */
function refusedColumns(definition: EntityDefinition, documents: readonly Buffer[]): Set<string> {
  const mapper = compileRowMapper({ ...definition, id: 0, created_at: "" });
  const rejects = documents.flatMap((document) => mapper.map(document).rejects);
  return new Set(rejects.flatMap(({ column }) => column ?? []));
}

/** The table "Types" in docs/03-entities.md, read backwards. */
function typeFor({ kinds }: FieldFacts): ColumnType {
  const only = (...allowed: readonly ValueKind[]): boolean =>
    kinds.size > 0 && [...kinds].every((kind) => allowed.includes(kind));
  if (only("bool")) return "bool";
  if (only("Int32", "Int64")) return "integer";
  // A Decimal128 keeps its digits as text; with other numbers it is compared more often than it is printed.
  if (only("Decimal128")) return "string";
  if (only("Int32", "Int64", "Double", "Decimal128")) return "number";
  if (only("string", "Date", "ObjectId", "UUID")) return "string";
  if (only("document", "array")) return "jsonb";
  return "any";
}

/** The field's own name, those of the documents around it before it, in letters that a column may have. */
function columnName(steps: readonly string[], taken: Set<string>): string {
  const plain = steps.join("_").replaceAll(/[^A-Za-z0-9_]+/g, "_");
  const wanted = (plain === "" ? "column" : plain).slice(0, NAME_CHARS_MAX);
  let name = wanted;
  for (let number = 2; taken.has(name.toLowerCase()); number++) {
    const suffix = `_${number}`;
    name = wanted.slice(0, NAME_CHARS_MAX - suffix.length) + suffix;
  }
  taken.add(name.toLowerCase());
  return name;
}

/** RFC 9535: names that are not plain stand in quotes. */
function jsonPath(steps: readonly string[]): string {
  const quoted = (name: string): string => `['${name.replaceAll(/[\\']/g, "\\$&")}']`;
  return `$${steps.map((name) => (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `.${name}` : quoted(name))).join("")}`;
}

function indexesOver(columns: readonly Column[], indexes: readonly (readonly string[])[]): Index[] {
  const byPath = new Map(columns.map(({ name, path }) => [path, name]));
  const found = indexes.flatMap((fields) => {
    const names = fields.flatMap((field) => byPath.get(jsonPath(field.split("."))) ?? []);
    return names.length === fields.length ? [names] : [];
  });
  const taken = new Set<string>();
  return [...new Map(found.map((names) => [names.join(), names])).values()].map((names) => ({
    name: columnName(["by", ...names], taken),
    columns: names,
  }));
}
