import { BSON, type Document } from "mongodb";
import {
  findElement,
  forEachElement,
  nameOf,
  type RawElement,
  singleElementDocument,
  valueOf,
} from "./raw-document.ts";

const DOCUMENT = 0x03;
const ARRAY = 0x04;
const DATE = 0x09;

/** JavaScript's dates end here; BSON's are 64 bits of milliseconds. */
const JS_DATE_MS_MAX = 8.64e15;

/**
 * A query for documents by their `_id`s, which keep their exact BSON types: 1 and 1.0, and documents in the order of
 * their keys. An `_id` that the driver can't write (a date beyond JavaScript's, a DBPointer) is asked for by its type:
 * the answer may hold others, so whoever asks compares `idKeyOf`.
 *
 * @param documentKeys BSON documents with `_id`
 */
export function idFilter(documentKeys: readonly Buffer[]): Document {
  const exact: unknown[] = [];
  const others = new Map<string, Document>();
  for (const key of documentKeys) {
    const element = findElement(key, "_id");
    if (element === null) continue;
    const value = valueIn(key, element);
    if (isSame(value, singleElementDocument("_id", element.type, valueOf(key, element)))) exact.push(value);
    else {
      const clause = inexact(key, element);
      others.set(JSON.stringify(clause), clause);
    }
  }
  if (others.size === 0) return { _id: exact.length === 1 ? { $eq: exact[0] } : { $in: exact } };
  const clauses = [...others.values(), ...(exact.length === 0 ? [] : [{ $in: exact }])];
  return clauses.length === 1 ? { _id: clauses[0] } : { $or: clauses.map((clause) => ({ _id: clause })) };
}

/** Whether `idFilter` asks for this `_id` alone, and those that MongoDB holds equal. */
export function isExactId(documentKey: Buffer): boolean {
  const element = findElement(documentKey, "_id");
  if (element === null) return false;
  const alone = singleElementDocument("_id", element.type, valueOf(documentKey, element));
  return isSame(valueIn(documentKey, element), alone);
}

/** The value as the driver takes it; documents as maps, because objects put keys like "1" first. */
function valueIn(bytes: Buffer, element: RawElement): unknown {
  if (element.type !== DOCUMENT && element.type !== ARRAY) {
    const alone = singleElementDocument("v", element.type, valueOf(bytes, element));
    return BSON.deserialize(alone, { promoteValues: false, promoteBuffers: false, bsonRegExp: true })["v"];
  }
  const inner = valueOf(bytes, element);
  const entries: [string, unknown][] = [];
  forEachElement(inner, 0, (part) => entries.push([nameOf(inner, part), valueIn(inner, part)]));
  return element.type === ARRAY ? entries.map(([, value]) => value) : new Map(entries);
}

/** Whether the driver writes the value as it was. */
function isSame(value: unknown, document: Buffer): boolean {
  try {
    return document.equals(BSON.serialize({ _id: value }, { ignoreUndefined: false }));
  } catch {
    return false;
  }
}

function inexact(bytes: Buffer, { type, valueStart }: RawElement): Document {
  if (type !== DATE) return { $type: type > 0x7f ? type - 0x100 : type };
  // Comparison stays within the type: these are the dates that no JavaScript has.
  return bytes.readBigInt64LE(valueStart) > 0n ? { $gt: new Date(JS_DATE_MS_MAX) } : { $lt: new Date(-JS_DATE_MS_MAX) };
}
