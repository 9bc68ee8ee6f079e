import type { EntityStatus } from "../api/entity-status.ts";
import { tableLines } from "./text-table.ts";

/** All entities, one a line. */
export function entityTable(entities: readonly EntityStatus[]): string[] {
  if (entities.length === 0) return ["There is no entity yet: emcache entity create --help"];
  return tableLines(
    [
      { heading: "ENTITY", align: "left" },
      { heading: "SOURCE", align: "left" },
      { heading: "STATE", align: "left" },
      { heading: "ROWS", align: "right" },
      { heading: "COLUMNS", align: "right" },
      { heading: "VERSION", align: "right" },
    ],
    entities.map(({ name, client, source, state, rows, shape, id }) => [
      name,
      `${client}.${source}`,
      state,
      rows === null ? "-" : String(rows),
      String(shape.columns.length),
      String(id),
    ]),
  );
}

/** One entity with all that is worth knowing of it. */
export function entityLines(entity: EntityStatus): string[] {
  const { name, client, source, shape, filter, last_error: error } = entity;
  const facts: readonly (readonly [string, string | number | null])[] = [
    ["entity", `${name} (version ${entity.id}, of ${entity.created_at})`],
    ["source", `${client}.${source}`],
    ["state", entity.reason === null ? entity.state : `${entity.state}: ${entity.reason}`],
    ["change", entity.pending === null ? null : `version ${entity.pending.id} is ${entity.pending.state}`],
    ["rows", entity.rows],
    ["position", entity.position],
    ["lag", entity.lag_ms === null ? null : `${entity.lag_ms} ms, ${entity.lag_entries ?? 0} entries behind`],
    ["rejects", entity.rejects],
    ["size", entity.size_bytes === null ? null : `${entity.size_bytes} bytes`],
    ["error", error === null ? null : `${error.detail} (${error.code}). ${error.hint}`],
    ["filter", filter === undefined ? null : JSON.stringify(filter)],
    ["on_reject", entity.on_reject ?? null],
    ["on_drop", entity.on_drop ?? null],
  ];
  const columns = tableLines(
    [
      { heading: "COLUMN", align: "left" },
      { heading: "TYPE", align: "left" },
      { heading: "PATH", align: "left" },
    ],
    [
      ["id", shape.id_column.type, shape.id_column.path],
      ...shape.columns.map((column) => [column.name, column.type, column.path]),
    ],
  );
  return [
    ...facts.flatMap(([label, value]) => (value === null ? [] : [`${label.padEnd(10)}${String(value)}`])),
    "",
    ...columns,
    ...shape.indexes.map((index) => `index ${index.name} (${index.columns.join(", ")})`),
  ];
}
