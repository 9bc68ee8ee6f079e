import type { BsonDocument } from "../bson/codec.ts";
import { CommandError } from "../command-error.ts";
import { ClusterClock, type ClusterTime } from "../oplog/cluster-clock.ts";
import { type OplogLimits, Oplog } from "../oplog/oplog.ts";
import {
  type CollectionOperation,
  type DocumentOperation,
  type EntryNamespace,
  type OplogEntry,
  type TransactionIdentity,
  isDocumentEntry,
} from "../oplog/oplog-entry.ts";
import { Collection, type CollectionOptions } from "./collection.ts";
import { keyOfDocument } from "./document-key.ts";

/** A change of one document, ready to be applied. */
export interface Change {
  readonly collection: Collection;
  readonly key: string;
  readonly operation: DocumentOperation;
  readonly before: Buffer | null;
  readonly after: Buffer | null;
}

/** What an entry costs beside the documents that it holds. */
const ENTRY_OVERHEAD_BYTES = 700;

/** All databases, the oplog of their changes and the clock of both. */
export class Store {
  readonly clock = new ClusterClock();
  readonly oplog: Oplog;
  readonly #collections = new Map<string, Collection>();
  /** Times at which somebody still reads, each with how many do. */
  readonly #openSnapshots = new Map<ClusterTime, number>();

  constructor(limits: OplogLimits) {
    this.oplog = new Oplog(limits, this.clock.last);
    // From now on there is one: a stream that is opened before the first write begins after the start.
    this.clock.tick();
  }

  collection(database: string, name: string): Collection | null {
    return this.#collections.get(`${database}.${name}`) ?? null;
  }

  collectionsOf(database: string): Collection[] {
    return [...this.#collections.values()].filter((collection) => collection.database === database);
  }

  databases(): string[] {
    return [...new Set([...this.#collections.values()].map(({ database }) => database))].sort();
  }

  /** The collection, made where it does not exist, as a first insert does. */
  ensureCollection(database: string, name: string): Collection {
    return (
      this.collection(database, name) ??
      this.createCollection(database, name, { hasImages: false, cap: null, given: {} })
    );
  }

  /** @throws CommandError 73 for a name that none can have, 48 where there is one */
  createCollection(database: string, name: string, options: CollectionOptions): Collection {
    if (name === "" || name.includes("\0") || name.includes("$") || name.startsWith(".")) {
      throw new CommandError(73, `Invalid namespace specified '${database}.${name}'`);
    }
    if (this.collection(database, name) !== null) {
      throw new CommandError(48, `namespace ${database}.${name} already exists, but with different options`);
    }
    const collection = new Collection(database, name, options);
    this.#collections.set(collection.namespace, collection);
    const idIndex = { v: 2, key: { _id: 1 }, name: "_id_" };
    this.record("create", namespaceOf(collection), { idIndex });
    return collection;
  }

  dropCollection(collection: Collection): void {
    this.#remove(collection);
    this.record("drop", namespaceOf(collection), {});
  }

  /** Drops all collections of it, then the database. */
  dropDatabase(database: string): void {
    const collections = this.collectionsOf(database);
    for (const collection of collections) this.dropCollection(collection);
    if (collections.length > 0) this.record("dropDatabase", { database, collection: "", uuid: null }, {});
  }

  /** @throws CommandError 26, 48 */
  renameCollection(collection: Collection, database: string, name: string, dropTarget: boolean): void {
    const target = this.collection(database, name);
    if (target !== null && !dropTarget) throw new CommandError(48, "target namespace exists");
    const from = namespaceOf(collection);
    const description: BsonDocument = { to: { db: database, coll: name } };
    if (target !== null) this.#remove(target);
    this.#collections.delete(collection.namespace);
    collection.moveTo(database, name);
    this.#collections.set(collection.namespace, collection);
    this.record("rename", from, description, { database, collection: name, uuid: target?.uuid ?? null });
  }

  /** Writes an entry for a change of a collection or a database. */
  record(
    operation: CollectionOperation,
    namespace: EntryNamespace,
    description: BsonDocument,
    to: EntryNamespace | null = null,
  ): void {
    const time = this.clock.tick();
    const place = { time, wallTimeMs: Date.now(), operationIndex: 0, sizeBytes: ENTRY_OVERHEAD_BYTES };
    this.oplog.append({ ...place, operation, namespace, description, to });
  }

  /**
   * Applies a change and writes its entry.
   *
   * @param transaction the time, place and identity of a change that is part of a transaction
   */
  apply(
    change: Change,
    transaction?: { readonly time: ClusterTime; readonly index: number; readonly identity: TransactionIdentity },
  ): void {
    const { collection, key, operation, before, after } = change;
    const time = transaction?.time ?? this.clock.tick();
    collection.put(key, after, this.#openSnapshots.size > 0 ? time : null);
    for (const { unique } of collection.indexes.values()) unique?.replace(key, before, after);
    // What gives way in a capped collection is no event (MongoDB manual, "Capped Collections").
    for (let oldest = collection.overflow(); oldest !== null; oldest = collection.overflow()) {
      for (const { unique } of collection.indexes.values()) unique?.replace(oldest.key, oldest.bytes, null);
      collection.put(oldest.key, null, this.#openSnapshots.size > 0 ? time : null);
    }
    this.oplog.append({
      time,
      wallTimeMs: Date.now(),
      namespace: namespaceOf(collection),
      operationIndex: transaction?.index ?? 0,
      // Beside the documents, a stream's event holds the document once more.
      sizeBytes: ENTRY_OVERHEAD_BYTES + (before?.length ?? 0) + 2 * (after?.length ?? 0),
      operation,
      before,
      after,
      hasImages: collection.options.hasImages,
      transaction: transaction?.identity ?? null,
    });
  }

  /** Keeps what is written over from now on, for reads at this time; `closeSnapshot` lets it go. */
  openSnapshot(): ClusterTime {
    const time = this.clock.last;
    this.#openSnapshots.set(time, (this.#openSnapshots.get(time) ?? 0) + 1);
    return time;
  }

  closeSnapshot(time: ClusterTime): void {
    const count = (this.#openSnapshots.get(time) ?? 0) - 1;
    if (count > 0) this.#openSnapshots.set(time, count);
    else this.#openSnapshots.delete(time);
    if (this.#openSnapshots.size > 0) return;
    for (const collection of this.#collections.values()) collection.forgetPast();
  }

  /**
   * Undoes the newest entries, up to `count` changes of documents, as a primary does that comes back after a
   * failover (MongoDB manual, "Rollbacks During Replica Set Failover"). Stops at a change of a collection.
   */
  rollBack(count: number): OplogEntry[] {
    const undone: OplogEntry[] = [];
    while (undone.length < count) {
      const newest = this.oplog.at(this.oplog.end - 1);
      if (newest === undefined || !isDocumentEntry(newest)) break;
      this.oplog.removeNewest();
      undone.push(newest);
      const collection = this.collection(newest.namespace.database, newest.namespace.collection);
      const id = newest.after ?? newest.before;
      if (collection === null || id === null) continue;
      collection.put(keyOfDocument(id), newest.before, null);
      for (const { unique } of collection.indexes.values())
        unique?.replace(keyOfDocument(id), newest.after, newest.before);
    }
    return undone;
  }

  #remove(collection: Collection): void {
    this.#collections.delete(collection.namespace);
    collection.isDropped = true;
  }
}

/** As entries name a collection. */
export function namespaceOf(collection: Collection): EntryNamespace {
  return collection.entryNamespace;
}
