import {
  BSON_TYPE,
  EMPTY_DOCUMENT,
  type RawElement,
  documentOfElements,
  elementBytes,
  elementsOf,
  nameOf,
  valueOf,
} from "../bson/raw-document.ts";
import { DocumentWriter } from "../bson/document-writer.ts";

/** What an update changed. */
interface Difference {
  /** Elements of `updatedFields`, named by dotted paths. */
  readonly updated: Buffer[];
  readonly removed: string[];
  readonly truncated: { readonly field: string; readonly newSize: number }[];
}

/**
 * `updateDescription` of an update event, computed from the document before and after (MongoDB manual, "update Event").
 * MongoDB derives it from its oplog's `$v: 2` diff; this one finds the same fields, and as there an array whose
 * elements differ is described element by element, one that became shorter by `truncatedArrays`.
 */
export function updateDescription(before: Buffer, after: Buffer, isExpanded: boolean): Buffer {
  const difference: Difference = { updated: [], removed: [], truncated: [] };
  compareDocuments(before, after, "", difference);
  const writer = new DocumentWriter();
  writer.document("updatedFields", documentOfElements(difference.updated));
  writer.raw(
    BSON_TYPE.array,
    "removedFields",
    arrayOf((array) => {
      for (const [index, field] of difference.removed.entries()) array.string(String(index), field);
    }),
  );
  writer.raw(
    BSON_TYPE.array,
    "truncatedArrays",
    arrayOf((array) => {
      for (const [index, { field, newSize }] of difference.truncated.entries()) {
        array.begin(String(index)).string("field", field).int32("newSize", newSize).end();
      }
    }),
  );
  if (isExpanded) writer.document("disambiguatedPaths", EMPTY_DOCUMENT);
  return writer.finish();
}

function arrayOf(write: (array: DocumentWriter) => void): Buffer {
  const array = new DocumentWriter();
  write(array);
  return array.finish();
}

function compareDocuments(before: Buffer, after: Buffer, prefix: string, difference: Difference): void {
  const old = new Map<string, RawElement>();
  for (const element of elementsOf(before)) old.set(nameOf(before, element), element);
  for (const element of elementsOf(after)) {
    const name = nameOf(after, element);
    const previous = old.get(name);
    old.delete(name);
    compareValues(before, previous, after, element, prefix + name, difference);
  }
  for (const name of old.keys()) difference.removed.push(prefix + name);
}

function compareValues(
  before: Buffer,
  previous: RawElement | undefined,
  after: Buffer,
  element: RawElement,
  path: string,
  difference: Difference,
): void {
  const value = valueOf(after, element);
  if (previous?.type === element.type) {
    const oldValue = valueOf(before, previous);
    if (value.equals(oldValue)) return;
    if (element.type === BSON_TYPE.document) return compareDocuments(oldValue, value, `${path}.`, difference);
    if (element.type === BSON_TYPE.array) return compareArrays(oldValue, value, path, difference);
  }
  difference.updated.push(renamed(after, element, path));
}

function compareArrays(before: Buffer, after: Buffer, path: string, difference: Difference): void {
  const old = [...elementsOf(before)];
  const now = [...elementsOf(after)];
  for (const [index, element] of now.entries()) {
    compareValues(before, old[index], after, element, `${path}.${index}`, difference);
  }
  if (now.length < old.length) difference.truncated.push({ field: path, newSize: now.length });
}

/** The element under another name. */
function renamed(bytes: Buffer, element: RawElement, name: string): Buffer {
  const original = elementBytes(bytes, element);
  return Buffer.concat([original.subarray(0, 1), Buffer.from(`${name}\0`), valueOf(bytes, element)]);
}
