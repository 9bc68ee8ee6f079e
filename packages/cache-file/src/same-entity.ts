import type { Entity } from "@emcache/protocol";

/** Whether two records are of one entity version with one shape, whatever the order of their JSON keys. */
export function isSameEntity(a: Entity, b: Entity): boolean {
  return canonical(a) === canonical(b);
}

function canonical({ id, name, shape }: Entity): string {
  return JSON.stringify([
    id,
    name,
    shape.id_column.path,
    shape.id_column.type,
    shape.columns.map((column) => [column.name, column.type, column.path]),
    shape.indexes.map((index) => [index.name, index.columns]),
  ]);
}
