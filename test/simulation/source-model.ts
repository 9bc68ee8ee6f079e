import { BSON, type Document } from "mongodb";

/** A cluster time: BSON timestamp as an unsigned 64-bit number. */
export type Time = bigint;

/** One state of a document: from its time on; null is absence. */
export interface DocumentState {
  readonly time: Time;
  readonly bytes: Buffer | null;
}

export interface ModelDocument {
  readonly id: unknown;
  /** `{_id}` as BSON. */
  readonly key: Buffer;
  /** Ascending in time; the first is absence at time 0. */
  readonly states: DocumentState[];
}

export type WriteKind = "insert" | "update" | "replace" | "delete";

/** One entry of the oplog. */
export interface Entry {
  readonly index: number;
  readonly time: Time;
  readonly kind: WriteKind | "drop" | "rename" | "dropDatabase" | "invalidate";
  readonly collection: string;
  readonly toCollection: string | null;
  readonly key: Buffer | null;
  /** The document after it. */
  readonly bytes: Buffer | null;
  /** Number of its source transaction. */
  readonly transaction: number | null;
}

/** A write of a document; `fields` is what the document holds beside `_id` and `rev`, null deletes it. */
export interface ModelWrite {
  readonly collection: string;
  readonly id: unknown;
  readonly fields: Document | null;
  /** How a document that exists is changed. */
  readonly kind: "update" | "replace";
}

/** BSON's order of the types that ids have here. */
const TYPE_ORDER: Readonly<Record<string, number>> = { number: 0, string: 1 };

/**
 * What a MongoDB holds: every majority-committed state of every document with its time, and the oplog. Every document
 * carries `rev`, the number of the write that made it, so that each state is told from every other.
 */
export class SourceModel {
  readonly collections = new Map<string, Map<string, ModelDocument>>();
  readonly entries: Entry[] = [];
  /** Below this index the oplog is gone. */
  historyFloor = 0;
  /** Raised by whatever ends the cursors of a collection. */
  readonly incarnations = new Map<string, number>();
  time: Time;
  #revision = 0;
  #transaction = 0;
  readonly #listeners = new Set<() => void>();

  constructor() {
    this.time = BigInt(Date.UTC(2026, 0, 1) / 1000) << 32n;
  }

  onNews(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether the document exists. */
  has(collection: string, id: unknown): boolean {
    const document = this.collections.get(collection)?.get(nameOf(id));
    return document !== undefined && document.states.at(-1)?.bytes !== null;
  }

  /** One write, or the writes of one transaction. Deletes of what does not exist do nothing. */
  write(writes: readonly ModelWrite[], isTransaction = false): void {
    this.#tick();
    const transaction = isTransaction ? ++this.#transaction : null;
    for (const { collection, id, fields, kind } of writes) {
      if (!isTransaction) this.#tick();
      const exists = this.has(collection, id);
      if (fields === null && !exists) continue;
      const bytes = fields === null ? null : Buffer.from(BSON.serialize({ _id: id, rev: ++this.#revision, ...fields }));
      this.#setState(collection, id, bytes);
      const what = fields === null ? "delete" : exists ? kind : "insert";
      this.#log(what, collection, { key: keyOf(id), bytes, transaction });
    }
    this.#tell();
  }

  drop(collection: string): void {
    if (!this.#exists(collection)) return;
    this.#tick();
    this.#clear(collection);
    this.#log("drop", collection);
    this.#tell();
  }

  /** With dropTarget. */
  rename(from: string, to: string): void {
    if (!this.#exists(from) || from === to) return;
    this.#tick();
    const documents = [...(this.collections.get(from)?.values() ?? [])];
    this.#clear(to);
    for (const { id, states } of documents) {
      const bytes = states.at(-1)?.bytes ?? null;
      if (bytes !== null) this.#setState(to, id, bytes);
    }
    this.#clear(from);
    this.#log("rename", from, { toCollection: to });
    this.#tell();
  }

  dropDatabase(): void {
    for (const name of this.collections.keys()) this.drop(name);
    this.#tick();
    this.#log("dropDatabase", "");
    this.#log("invalidate", "");
    this.#tell();
  }

  /** The oplog was cut: what was in it is gone. */
  loseHistory(): void {
    this.#tick();
    this.historyFloor = this.entries.length;
    this.#tell();
  }

  /** Time goes on without a write that anyone watches. */
  noop(): void {
    this.#tick();
    this.#tell();
  }

  /** Documents that exist at some time in [from, to], in `_id` order; each in the state that `pick` chooses. */
  read(
    collection: string,
    after: unknown,
    { isInclusive, limit }: { readonly isInclusive: boolean; readonly limit: number },
    pick: () => Time,
  ): { readonly id: unknown; readonly bytes: Buffer }[] {
    const documents = [...(this.collections.get(collection)?.values() ?? [])].toSorted((a, b) => compare(a.id, b.id));
    const found: { id: unknown; bytes: Buffer }[] = [];
    for (const { id, states } of documents) {
      if (found.length >= limit) break;
      if (after !== undefined && (isInclusive ? compare(id, after) < 0 : compare(id, after) <= 0)) continue;
      const bytes = stateAt(states, pick());
      if (bytes !== null) found.push({ id, bytes });
    }
    return found;
  }

  /** The document as it was. */
  stateOf(collection: string, id: unknown, time: Time): Buffer | null {
    const document = this.collections.get(collection)?.get(nameOf(id));
    return document === undefined ? null : stateAt(document.states, time);
  }

  /** The documents that exist now. */
  documents(collection: string): Buffer[] {
    return this.read(collection, undefined, { isInclusive: true, limit: Infinity }, () => this.time).map(
      ({ bytes }) => bytes,
    );
  }

  count(collection: string): number {
    return this.documents(collection).length;
  }

  #exists(collection: string): boolean {
    return this.count(collection) > 0;
  }

  #clear(collection: string): void {
    this.incarnations.set(collection, (this.incarnations.get(collection) ?? 0) + 1);
    for (const { states } of this.collections.get(collection)?.values() ?? []) {
      if (states.at(-1)?.bytes !== null) states.push({ time: this.time, bytes: null });
    }
  }

  #setState(collection: string, id: unknown, bytes: Buffer | null): void {
    let documents = this.collections.get(collection);
    if (documents === undefined) this.collections.set(collection, (documents = new Map()));
    let document = documents.get(nameOf(id));
    if (document === undefined) {
      document = { id, key: keyOf(id), states: [{ time: 0n, bytes: null }] };
      documents.set(nameOf(id), document);
    }
    document.states.push({ time: this.time, bytes });
  }

  #log(kind: Entry["kind"], collection: string, more: Partial<Entry> = {}): void {
    const index = this.entries.length;
    const { time } = this;
    this.entries.push({
      toCollection: null,
      key: null,
      bytes: null,
      transaction: null,
      ...more,
      index,
      time,
      kind,
      collection,
    });
  }

  #tick(): void {
    this.time += 1n;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function stateAt(states: readonly DocumentState[], time: Time): Buffer | null {
  return states.findLast((state) => state.time <= time)?.bytes ?? null;
}

/** A name of an id within its collection. */
export function nameOf(id: unknown): string {
  return `${typeof id} ${String(id)}`;
}

function keyOf(id: unknown): Buffer {
  return Buffer.from(BSON.serialize({ _id: id }));
}

function compare(a: unknown, b: unknown): number {
  const types = (TYPE_ORDER[typeof a] ?? 0) - (TYPE_ORDER[typeof b] ?? 0);
  if (types !== 0) return types;
  return (a as number) < (b as number) ? -1 : (a as number) > (b as number) ? 1 : 0;
}
