import type { Column, Entity } from "@emcache/protocol";

export interface RowTypesOptions {
  /** Whether INTEGER columns are `number | bigint`, as they are, or `number`, as almost all are. Default false. */
  readonly exactIntegers?: boolean;
}

/**
 * TypeScript types of entities' rows, as the client's `get`, `query` and `subscribe` return them: an interface a row,
 * and `Entities`, the type parameter of `openCache`.
 */
export function rowTypes(entities: readonly Entity[], options: RowTypesOptions = {}): string {
  const sorted = entities.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const parts = sorted.map((entity) => rowInterface(entity, options));
  const members = sorted.map(({ name }) => `  readonly ${name}: ${typeName(name)};\n`);
  return (
    "// Written by `emcache types`. Don't edit: run it again when a shape changed.\n\n" +
    parts.map((part) => `${part}\n`).join("") +
    `/** Rows by entity: \`openCache<Entities>({ … })\`. */\nexport interface Entities {\n${members.join("")}}\n`
  );
}

function rowInterface({ name, shape, id }: Entity, options: RowTypesOptions): string {
  const integer = options.exactIntegers === true ? "number | bigint" : "number";
  const idType = shape.id_column.type === "number" ? integer : "string";
  const columns = shape.columns.map(
    (column) =>
      `  /** \`${column.path.replaceAll("*/", "*\\/")}\` */\n  readonly ${JSON.stringify(column.name)}: ${columnType(column, integer)};\n`,
  );
  return (
    `/** A row of \`${name}\` (version ${id}). */\nexport interface ${typeName(name)} {\n` +
    `  readonly id: ${idType};\n${columns.join("")}}\n`
  );
}

function columnType({ type }: Column, integer: string): string {
  switch (type) {
    case "string":
      return "string | null";
    case "integer":
      return `${integer} | null`;
    case "number":
      return "number | null";
    case "bool":
      return "0 | 1 | null";
    case "jsonb":
      // JSON text.
      return "string | null";
    case "any":
      return "string | number | bigint | null";
  }
}

/** `order_lines` is OrderLinesRow. */
function typeName(name: string): string {
  const words = name.split("_").filter((word) => word !== "");
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return `${/^[A-Z]/.test(joined) ? "" : "_"}${joined}Row`;
}
