import { type BsonDocument, decodeTyped, isDocument, numberOf } from "../bson/codec.ts";
import { keyOfValue } from "../bson/key-string.ts";
import { CommandError } from "../command-error.ts";
import { valuesAt } from "./field-path.ts";

/** A field to sort by. */
export interface SortField {
  readonly path: string;
  readonly isDescending: boolean;
}

/** @throws CommandError 2 for a direction other than 1 and -1 */
export function parseSort(sort: unknown): SortField[] {
  if (sort === undefined || sort === null) return [];
  if (!isDocument(sort)) throw new CommandError(14, "Expected field 'sort' to be of type object");
  return Object.entries(sort).map(([path, direction]) => {
    const number = numberOf(direction);
    if (number !== 1 && number !== -1) throw new CommandError(2, `Illegal key in $sort specification: ${path}`);
    return { path, isDescending: number === -1 };
  });
}

/** Sorts documents; those that are equal keep their order. */
export function sortDocuments(documents: readonly Buffer[], fields: readonly SortField[]): Buffer[] {
  // MongoDB manual, "cursor.sort(): Return Natural Order".
  if (fields[0]?.path === "$natural") return fields[0].isDescending ? documents.toReversed() : [...documents];
  const keyed = documents.map((bytes) => {
    const document = decodeTyped(bytes);
    return { bytes, keys: fields.map((field) => sortKey(document, field)) };
  });
  keyed.sort((a, b) => {
    for (const [index, { isDescending }] of fields.entries()) {
      const keyA = a.keys[index] ?? "";
      const keyB = b.keys[index] ?? "";
      if (keyA !== keyB) return keyA < keyB === isDescending ? 1 : -1;
    }
    return 0;
  });
  return keyed.map(({ bytes }) => bytes);
}

/** An array counts by its least element, descending by its greatest; an empty one below null, as undefined does. */
function sortKey(document: BsonDocument, { path, isDescending }: SortField): string {
  const keys = valuesAt(document, path).flatMap((value) => {
    if (!Array.isArray(value)) return [keyOfValue(value)];
    return value.length === 0 ? ["\u000f"] : value.map(keyOfValue);
  });
  if (keys.length === 0) return keyOfValue(null);
  return keys.reduce((best, key) => (key < best === isDescending ? best : key));
}
