import type { BsonDocument } from "../bson/codec.ts";
import { keyOfValue } from "../bson/key-string.ts";
import { CommandError } from "../command-error.ts";
import { compileFilter } from "../query/compile-filter.ts";
import { type ScanPlan, planOf } from "../query/scan-plan.ts";
import { type SortField, sortDocuments } from "../query/sort-order.ts";
import type { Collection } from "../store/collection.ts";
import type { StoredDocument } from "../store/ordered-index.ts";
import type { CommandContext } from "./command.ts";

/** Which documents of a collection, in which order. */
export interface DocumentQuery {
  readonly filter: BsonDocument;
  readonly sort?: readonly SortField[];
  /** Bounds of the index on `_id`: inclusive and exclusive (MongoDB manual, "cursor.min()", "cursor.max()"). */
  readonly min?: BsonDocument | undefined;
  readonly max?: BsonDocument | undefined;
  readonly hint?: unknown;
  readonly skip?: number;
  /** 0 for no limit. */
  readonly limit?: number;
}

/** What a command's reads see: the present, a snapshot, or what its transaction sees. */
export interface ReadView {
  get(key: string): Buffer | null;
  /** All documents in the order of `_id`, where they must be read at once; null where the index can be scanned. */
  all(): StoredDocument[] | null;
}

/** The view of the command's transaction or read time, else of the present. */
export function viewOf(context: CommandContext, collection: Collection): ReadView {
  const { transaction, readTime } = context;
  if (transaction !== null) {
    return { get: (key) => transaction.get(collection, key), all: () => transaction.all(collection) };
  }
  if (readTime !== null) {
    return { get: (key) => collection.getAt(key, readTime), all: () => collection.allAt(readTime) };
  }
  return { get: (key) => collection.get(key), all: () => null };
}

/** Documents read as they are asked for, unless a sort or the view needs them at once. */
export function readDocuments(context: CommandContext, collection: Collection, query: DocumentQuery): Iterable<Buffer> {
  const { sort = [], skip = 0, limit = 0 } = query;
  const isById = sort.length === 1 && sort[0]?.path === "_id";
  const plan = withBounds(planOf(query.filter), query);
  const isBackward = isById && sort[0]?.isDescending === true;
  const isOrdered = isById || isHintById(query.hint) || query.min !== undefined || query.max !== undefined;
  const scanned = scan(viewOf(context, collection), collection, plan, isOrdered, isBackward);
  const isExact = plan.kind !== "all" && plan.isExact;
  const matching = isExact ? scanned : filtered(scanned, query.filter);
  const ordered = sort.length === 0 || isById ? matching : sortDocuments([...matching], sort);
  return skip === 0 && limit === 0 ? ordered : limited(ordered, skip, limit);
}

function isHintById(hint: unknown): boolean {
  if (typeof hint === "string") return hint === "_id_";
  return typeof hint === "object" && hint !== null && "_id" in hint;
}

function withBounds(plan: ScanPlan, { min, max, filter }: DocumentQuery): ScanPlan {
  if (min === undefined && max === undefined) return plan;
  const low = min === undefined ? null : boundKey(min);
  const high = max === undefined ? null : boundKey(max);
  if (low !== null && high !== null && low > high) throw new CommandError(51175, "min must be less than max");
  return { kind: "range", low, high, isExact: Object.keys(filter).length === 0 };
}

function boundKey(bound: BsonDocument): string {
  const [name] = Object.keys(bound);
  if (name === "_id" && Object.keys(bound).length === 1) return keyOfValue(bound["_id"]);
  throw new CommandError(51174, "min() and max() are served for the index { _id: 1 } only");
}

function* scan(
  view: ReadView,
  collection: Collection,
  plan: ScanPlan,
  isOrdered: boolean,
  isBackward: boolean,
): Generator<Buffer> {
  if (plan.kind === "keys") {
    for (const key of isBackward ? plan.keys.toReversed() : plan.keys) {
      const document = view.get(key);
      if (document !== null) yield document;
    }
    return;
  }
  const low = plan.kind === "range" ? plan.low : null;
  const high = plan.kind === "range" ? plan.high : null;
  const all = view.all();
  if (all !== null) {
    for (const { key, bytes } of isBackward ? all.toReversed() : all) {
      if ((low === null || key >= low) && (high === null || key < high)) yield bytes;
    }
  } else if (isBackward) {
    for (const { bytes } of collection.index.backward(low, high)) yield bytes;
  } else if (plan.kind === "range" || isOrdered) {
    const indexScan = collection.index.scan(low, high);
    for (let next = indexScan.next(); next !== null; next = indexScan.next()) {
      yield next.bytes;
      assertPresent(collection);
    }
  } else {
    for (const { bytes } of collection.inNaturalOrder()) {
      yield bytes;
      assertPresent(collection);
    }
  }
}

/** @throws CommandError 175 (QueryPlanKilled) for a scan whose collection was dropped meanwhile */
function assertPresent(collection: Collection): void {
  if (collection.isDropped) throw new CommandError(175, `collection dropped. UUID ${collection.uuid.toString("hex")}`);
}

function* filtered(documents: Iterable<Buffer>, filter: BsonDocument): Generator<Buffer> {
  const predicate = compileFilter(filter);
  for (const document of documents) if (predicate === null || predicate(document)) yield document;
}

function* limited(documents: Iterable<Buffer>, skip: number, limit: number): Generator<Buffer> {
  if (limit === 0 && skip === 0) return yield* documents;
  let index = 0;
  for (const document of documents) {
    if (index++ < skip) continue;
    yield document;
    if (limit > 0 && index >= skip + limit) return;
  }
}
