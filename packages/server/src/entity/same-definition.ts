import type { EntityDefinition } from "@emcache/protocol";

/** Whether two validated definitions mean the same: rows, indexes, order of columns, policies. */
export function isSameDefinition(left: EntityDefinition, right: EntityDefinition): boolean {
  return canonical(left) === canonical(right);
}

/** Fields in a fixed order, so that it doesn't matter how either was written or stored. */
function canonical({ name, client, source, shape, filter, on_reject, on_drop }: EntityDefinition): string {
  const { id_column: idColumn, columns, indexes } = shape;
  return JSON.stringify([
    [name, client, source, idColumn.path, idColumn.type],
    columns.map((column) => [column.name, column.type, column.path]),
    indexes.map((index) => [index.name, index.columns]),
    [filter ?? {}, on_reject ?? "null", on_drop ?? "empty"],
  ]);
}
