import { CommandError } from "../command-error.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import type { TransactionIdentity } from "../oplog/oplog-entry.ts";
import type { Collection } from "../store/collection.ts";
import type { StoredDocument } from "../store/ordered-index.ts";
import type { Change, Store } from "../store/store.ts";

/** Which open transaction has written a document; others must wait for it or fail. */
const holders = new WeakMap<Collection, Map<string, Transaction>>();

/** Thrown by a write outside of transactions to a document that an open transaction has written: wait and try again. */
export class HeldByTransaction extends Error {
  readonly transaction: Transaction;

  constructor(transaction: Transaction) {
    super("the document is held by a transaction");
    this.name = "HeldByTransaction";
    this.transaction = transaction;
  }
}

/** The open transaction that has written this document; null for none. */
export function holderOf(collection: Collection, key: string): Transaction | null {
  return holders.get(collection)?.get(key) ?? null;
}

/** Reads from a snapshot, writes into a buffer, all of it applied at commit (MongoDB manual, "Transactions"). */
export class Transaction {
  readonly identity: TransactionIdentity;
  readonly ended: Promise<void>;
  readonly startedAtMs = performance.now();
  readonly #store: Store;
  readonly #snapshot: ClusterTime;
  readonly #overlay = new Map<Collection, Map<string, Buffer | null>>();
  readonly #changes: Change[] = [];
  #state: "open" | "committed" | "aborted" = "open";
  #markEnded: () => void = () => undefined;

  constructor(store: Store, identity: TransactionIdentity) {
    this.#store = store;
    this.identity = identity;
    this.#snapshot = store.openSnapshot();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#markEnded = resolve;
  }

  get state(): "open" | "committed" | "aborted" {
    return this.#state;
  }

  get(collection: Collection, key: string): Buffer | null {
    const own = this.#overlay.get(collection)?.get(key);
    return own === undefined ? collection.getAt(key, this.#snapshot) : own;
  }

  /** All documents as the transaction sees them, in the order of `_id`. */
  all(collection: Collection): StoredDocument[] {
    const documents = collection.allAt(this.#snapshot);
    const own = this.#overlay.get(collection);
    if (own === undefined) return documents;
    const merged = new Map(documents.map(({ key, bytes }) => [key, bytes]));
    for (const [key, bytes] of own) {
      if (bytes === null) merged.delete(key);
      else merged.set(key, bytes);
    }
    return [...merged].map(([key, bytes]) => ({ key, bytes })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** @throws CommandError 112 where another transaction, or a write since the snapshot, was first */
  write(change: Change): void {
    const { collection, key } = change;
    const holder = holderOf(collection, key);
    const isConflict = holder === null ? collection.writtenAt(key) > this.#snapshot : holder !== this;
    if (isConflict) {
      this.abort();
      throw new CommandError(112, "Write conflict during plan execution and yielding is disabled.", {
        labels: ["TransientTransactionError"],
      });
    }
    const held = holders.get(collection) ?? new Map<string, Transaction>();
    holders.set(collection, held.set(key, this));
    const own = this.#overlay.get(collection) ?? new Map<string, Buffer | null>();
    this.#overlay.set(collection, own.set(key, change.after));
    this.#changes.push(change);
  }

  commit(): void {
    if (this.#state !== "open") return;
    this.#release("committed");
    if (this.#changes.length === 0) return;
    const time = this.#store.clock.tick();
    for (const [index, change] of this.#changes.entries()) {
      this.#store.apply(change, { time, index, identity: this.identity });
    }
  }

  abort(): void {
    if (this.#state === "open") this.#release("aborted");
  }

  #release(state: "committed" | "aborted"): void {
    this.#state = state;
    for (const [collection, documents] of this.#overlay) {
      for (const key of documents.keys()) holders.get(collection)?.delete(key);
    }
    this.#store.closeSnapshot(this.#snapshot);
    this.#markEnded();
  }
}
