import type { EntityDefinition } from "@emcache/protocol";

/** Whether two validated definitions mean the same rows and indexes in the same order of columns. */
export function isSameDefinition(left: EntityDefinition, right: EntityDefinition): boolean {
  return canonical(left) === canonical(right);
}

/** Fields in a fixed order, so that it doesn't matter how either was written or stored. */
function canonical({ name, client, source, shape }: EntityDefinition): string {
  const { id_column: idColumn, columns, indexes } = shape;
  return JSON.stringify([
    [name, client, source, idColumn.path, idColumn.type],
    columns.map((column) => [column.name, column.type, column.path]),
    indexes.map((index) => [index.name, index.columns]),
  ]);
}
