import type { Column, ColumnType, Entity, IdColumn } from "@emcache/protocol";

/** An entity of version 7 with columns given as `[type, path]`, named c0, c1, …. */
export function makeEntity(
  columns: readonly (readonly [ColumnType, string])[],
  idColumn: IdColumn = { path: "$._id", type: "string" },
): Entity {
  return {
    id: 7,
    name: "things",
    client: "main",
    source: "things",
    created_at: "2026-01-01T00:00:00Z",
    shape: {
      id_column: idColumn,
      columns: columns.map(([type, path], index): Column => ({ name: `c${index}`, type, path })),
      indexes: [],
    },
  };
}
