import { type BsonDocument, isDocument } from "../bson/codec.ts";
import type { OplogEntry } from "../oplog/oplog-entry.ts";

/** Whether an entry's event matches, judged without making the event. */
export type EntryPredicate = (entry: OplogEntry) => boolean;

/** The fields of events that an entry tells by itself. */
const FIELD: Readonly<Record<string, (entry: OplogEntry) => string | undefined>> = {
  operationType: ({ operation }) => operation,
  "ns.db": ({ namespace }) => namespace.database,
  "ns.coll": ({ namespace }) => namespace.collection || undefined,
  "to.db": (entry) => ("to" in entry ? entry.to?.database : undefined),
  "to.coll": (entry) => ("to" in entry ? entry.to?.collection : undefined),
};

/**
 * A `$match` on operation types and names by equality, `$in`, `$or` and `$and`, which is what most streams filter by.
 * Null for any other, which is judged on the event.
 */
export function compileEntryPredicate(filter: unknown): EntryPredicate | null {
  if (!isDocument(filter)) return null;
  const predicates: EntryPredicate[] = [];
  for (const [name, condition] of Object.entries(filter)) {
    const predicate = name.startsWith("$") ? compileLogical(name, condition) : compileField(name, condition);
    if (predicate === null) return null;
    predicates.push(predicate);
  }
  const [only] = predicates;
  return predicates.length === 1 && only !== undefined ? only : (entry) => predicates.every((test) => test(entry));
}

function compileLogical(name: string, conditions: unknown): EntryPredicate | null {
  if ((name !== "$or" && name !== "$and") || !Array.isArray(conditions)) return null;
  const predicates: EntryPredicate[] = [];
  for (const condition of conditions as unknown[]) {
    const predicate = compileEntryPredicate(condition);
    if (predicate === null) return null;
    predicates.push(predicate);
  }
  return name === "$or"
    ? (entry) => predicates.some((test) => test(entry))
    : (entry) => predicates.every((test) => test(entry));
}

function compileField(name: string, condition: unknown): EntryPredicate | null {
  const read = FIELD[name];
  const values = wantedValues(condition);
  if (read === undefined || values === null) return null;
  return (entry) => {
    const value = read(entry);
    return value !== undefined && values.has(value);
  };
}

function wantedValues(condition: unknown): ReadonlySet<string> | null {
  if (typeof condition === "string") return new Set([condition]);
  if (!isDocument(condition) || Object.keys(condition).length !== 1) return null;
  const { $eq, $in }: BsonDocument = condition;
  if (typeof $eq === "string") return new Set([$eq]);
  if (!Array.isArray($in)) return null;
  const names = $in.filter((value): value is string => typeof value === "string");
  return names.length === $in.length ? new Set(names) : null;
}
