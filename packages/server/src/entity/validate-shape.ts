import {
  type Column,
  COLUMN_TYPES,
  ID_COLUMN_TYPES,
  type IdColumn,
  type Index,
  isCacheTableName,
  type Shape,
} from "@emcache/protocol";
import { compileJsonPath, type JsonPath, JsonPathMistake } from "./json-path.ts";
import { fieldOf, type MistakeList, shown } from "./mistake-list.ts";
import { oneOf } from "./one-of.ts";
import { validateName } from "./validate-name.ts";

/** SQLite takes 2000 columns a table by default; half of that leaves room and is more than anyone maps. */
const COLUMNS_MAX = 1000;
/** Each index is written with every row. */
const INDEXES_MAX = 64;

/** What stands where a mistake was noted: the shape is thrown away then. */
const NO_ID_COLUMN: IdColumn = { path: "", type: "string" };
const NO_SHAPE: Shape = { id_column: NO_ID_COLUMN, columns: [], indexes: [] };

/** Reads `shape`, noting every mistake. `entityName` is what its cache's view will be called. */
export function validateShape(value: unknown, entityName: string, mistakes: MistakeList): Shape {
  const shape = mistakes.object(value, "shape");
  if (shape === null) return NO_SHAPE;
  const idColumn = validateIdColumn(fieldOf(shape, "id_column"), mistakes);
  const columns = validateColumns(fieldOf(shape, "columns"), mistakes);
  const indexes = validateIndexes(fieldOf(shape, "indexes"), columns, entityName, mistakes);
  return { id_column: idColumn, columns, indexes };
}

function validateIdColumn(value: unknown, mistakes: MistakeList): IdColumn {
  const place = "shape.id_column";
  const idColumn = mistakes.object(value, place);
  if (idColumn === null) return NO_ID_COLUMN;
  const path = validatePath(fieldOf(idColumn, "path"), `${place}.path`, mistakes);
  if (path !== null && path.steps?.[0] !== "_id") {
    const reason = "must be $._id or inside it, of names and indexes only, for a delete event carries nothing else";
    mistakes.add(`${place}.path`, `${shown(path.text)} ${reason}`);
  }
  const type = oneOf(fieldOf(idColumn, "type"), ID_COLUMN_TYPES, "type of an id column", `${place}.type`, mistakes);
  return { path: path?.text ?? "", type };
}

function validateColumns(value: unknown, mistakes: MistakeList): Column[] {
  const place = "shape.columns";
  const elements = mistakes.array(value, place, COLUMNS_MAX);
  if (elements === null) return [];
  if (elements.length === 0) mistakes.add(place, "is empty; an entity has at least one column");
  const firstPlaces = new Map<string, string>();
  return elements.map((element, index) => validateColumn(element, `${place}[${index}]`, firstPlaces, mistakes));
}

function validateColumn(
  value: unknown,
  place: string,
  firstPlaces: Map<string, string>,
  mistakes: MistakeList,
): Column {
  const column = mistakes.object(value, place);
  if (column === null) return { name: "", type: "any", path: "" };
  const name = validateName(fieldOf(column, "name"), `${place}.name`, mistakes);
  if (name.toLowerCase() === "id") {
    mistakes.add(`${place}.name`, `${shown(name)} is the primary key's name, filled by id_column; choose another name`);
  } else {
    requireUnique(name, place, "column", firstPlaces, mistakes);
  }
  const type = oneOf(fieldOf(column, "type"), COLUMN_TYPES, "column type", `${place}.type`, mistakes);
  const path = validatePath(fieldOf(column, "path"), `${place}.path`, mistakes);
  return { name, type, path: path?.text ?? "" };
}

function validateIndexes(
  value: unknown,
  columns: readonly Column[],
  entityName: string,
  mistakes: MistakeList,
): Index[] {
  if (value === undefined || value === null) return [];
  const place = "shape.indexes";
  const elements = mistakes.array(value, place, INDEXES_MAX) ?? [];
  const columnNames = new Set(columns.map((column) => column.name).filter((name) => name !== ""));
  const firstPlaces = new Map<string, string>();
  return elements.map((element, position) => {
    const indexPlace = `${place}[${position}]`;
    const index = mistakes.object(element, indexPlace);
    if (index === null) return { name: "", columns: [] };
    const name = validateName(fieldOf(index, "name"), `${indexPlace}.name`, mistakes);
    if (isCacheTableName(name) || (name !== "" && name.toLowerCase() === entityName.toLowerCase())) {
      mistakes.add(`${indexPlace}.name`, `${shown(name)} is a table or view of the cache file; choose another name`);
    } else {
      requireUnique(name, indexPlace, "index", firstPlaces, mistakes);
    }
    return {
      name,
      columns: validateIndexColumns(fieldOf(index, "columns"), `${indexPlace}.columns`, columnNames, mistakes),
    };
  });
}

function validateIndexColumns(
  value: unknown,
  place: string,
  columnNames: ReadonlySet<string>,
  mistakes: MistakeList,
): string[] {
  const elements = mistakes.array(value, place, COLUMNS_MAX);
  if (elements === null) return [];
  if (elements.length === 0) mistakes.add(place, "is empty; an index has at least one column");
  const seen = new Set<string>();
  return elements.map((element, position) => {
    const name = mistakes.string(element, `${place}[${position}]`) ?? "";
    if (typeof element !== "string") return name;
    // Without any columns that is the mistake, and not what the indexes name.
    if (!columnNames.has(name) && columnNames.size > 0) {
      const nearest = mistakes.nearest(name, columnNames);
      const right = nearest === null ? "name one of shape.columns" : `did you mean ${shown(nearest)}?`;
      mistakes.add(`${place}[${position}]`, `${shown(name)} is not a column of this entity; ${right}`);
    } else if (seen.has(name)) {
      mistakes.add(`${place}[${position}]`, `${shown(name)} is in this index already; name each column once`);
    }
    seen.add(name);
    return name;
  });
}

/** SQLite's names ignore case, so two that differ only in that are one. */
function requireUnique(
  name: string,
  place: string,
  what: string,
  firstPlaces: Map<string, string>,
  mistakes: MistakeList,
): void {
  if (name === "") return;
  const first = firstPlaces.get(name.toLowerCase());
  if (first === undefined) firstPlaces.set(name.toLowerCase(), place);
  else
    mistakes.add(
      `${place}.name`,
      `${shown(name)} is the name of ${first} too; each ${what} needs a name of its own in any case of letters`,
    );
}

function validatePath(value: unknown, place: string, mistakes: MistakeList): JsonPath | null {
  const text = mistakes.string(value, place);
  if (text === null) return null;
  try {
    return compileJsonPath(text);
  } catch (error) {
    if (!(error instanceof JsonPathMistake)) throw error;
    mistakes.add(place, `${shown(text)} is ${error.message}`);
    return null;
  }
}
