import { randomBytes } from "node:crypto";
import type { BsonDocument } from "../bson/codec.ts";
import type { ClusterTime } from "../oplog/cluster-clock.ts";
import type { EntryNamespace } from "../oplog/oplog-entry.ts";
import { OrderedIndex, type StoredDocument } from "./ordered-index.ts";
import type { UniqueIndex } from "./unique-index.ts";

/** What a document was before a write, for reads at an earlier time. */
interface PastVersion {
  /** Time of the write that ended it. */
  readonly endedAt: ClusterTime;
  readonly bytes: Buffer | null;
}

/** How a collection was created. */
export interface CollectionOptions {
  /** Whether updates and deletes keep pre- and post-images (`changeStreamPreAndPostImages`). */
  hasImages: boolean;
  /** Bounds of a capped collection, whose oldest documents give way; null for any other. */
  readonly cap: { readonly bytesMax: number; readonly documentsMax: number } | null;
  /** The options as they were given, for `listCollections`. */
  given: BsonDocument;
}

/** An index; only `_id_` and unique ones do something, others are remembered. */
export interface IndexDefinition {
  readonly name: string;
  readonly key: BsonDocument;
  /** The whole definition, for `listIndexes`. */
  readonly given: BsonDocument;
  readonly unique: UniqueIndex | null;
}

/** The documents of one collection, as BSON bytes: in the order of insertion and, by an index, in that of `_id`. */
export class Collection {
  readonly uuid: Buffer;
  readonly options: CollectionOptions;
  readonly index = new OrderedIndex();
  readonly indexes = new Map<string, IndexDefinition>();
  readonly #documents = new Map<string, StoredDocument>();
  readonly #past = new Map<string, PastVersion[]>();
  /** Whether it was dropped: cursors on it end. */
  isDropped = false;
  /** Bytes of all documents. */
  dataBytes = 0;

  /** The same object until it is renamed: what is made from it is made once. */
  #namespace: EntryNamespace;

  constructor(database: string, name: string, options: CollectionOptions) {
    this.options = options;
    this.uuid = randomUuid();
    this.#namespace = { database, collection: name, uuid: this.uuid };
  }

  get database(): string {
    return this.#namespace.database;
  }

  get name(): string {
    return this.#namespace.collection;
  }

  /** As oplog entries name it. */
  get entryNamespace(): EntryNamespace {
    return this.#namespace;
  }

  /** Gives it another name. */
  moveTo(database: string, name: string): void {
    this.#namespace = { database, collection: name, uuid: this.uuid };
  }

  get namespace(): string {
    return `${this.database}.${this.name}`;
  }

  get size(): number {
    return this.#documents.size;
  }

  get(key: string): Buffer | null {
    return this.#documents.get(key)?.bytes ?? null;
  }

  /** In the order of insertion; what is inserted or removed meanwhile is seen. */
  inNaturalOrder(): IterableIterator<StoredDocument> {
    return this.#documents.values();
  }

  /** Puts a document, or removes it with null. With `time`, what was there stays readable at earlier times. */
  put(key: string, bytes: Buffer | null, time: ClusterTime | null): void {
    const stored = this.#documents.get(key);
    if (time !== null) this.#remember(key, { endedAt: time, bytes: stored?.bytes ?? null });
    this.dataBytes += (bytes?.length ?? 0) - (stored?.bytes.length ?? 0);
    if (bytes === null) {
      this.#documents.delete(key);
      this.index.remove(key);
    } else if (stored === undefined) {
      const document = { key, bytes };
      this.#documents.set(key, document);
      this.index.insert(document);
    } else stored.bytes = bytes;
  }

  /** The oldest document of a capped collection that is over its bounds; null while it is within. */
  overflow(): StoredDocument | null {
    const { cap } = this.options;
    if (cap === null || (this.dataBytes <= cap.bytesMax && this.size <= cap.documentsMax) || this.size <= 1)
      return null;
    return this.#documents.values().next().value ?? null;
  }

  /** The document as it was at `time`. */
  getAt(key: string, time: ClusterTime): Buffer | null {
    const version = this.#past.get(key)?.find(({ endedAt }) => endedAt > time);
    return version === undefined ? this.get(key) : version.bytes;
  }

  /** When the document was last written, as far as that is remembered; 0 where it is not. */
  writtenAt(key: string): ClusterTime {
    return this.#past.get(key)?.at(-1)?.endedAt ?? 0n;
  }

  /** All documents as they were at `time`, in the order of `_id`. */
  allAt(time: ClusterTime): StoredDocument[] {
    const documents: StoredDocument[] = [];
    const scan = this.index.scan(null, null);
    for (let document = scan.next(); document !== null; document = scan.next()) {
      const bytes = this.getAt(document.key, time);
      if (bytes !== null) documents.push({ key: document.key, bytes });
    }
    let hasDeleted = false;
    for (const key of this.#past.keys()) {
      if (this.#documents.has(key)) continue;
      const bytes = this.getAt(key, time);
      if (bytes === null) continue;
      documents.push({ key, bytes });
      hasDeleted = true;
    }
    return hasDeleted ? documents.sort((a, b) => (a.key < b.key ? -1 : 1)) : documents;
  }

  /** Nobody reads at an earlier time any more. */
  forgetPast(): void {
    this.#past.clear();
  }

  #remember(key: string, version: PastVersion): void {
    const versions = this.#past.get(key);
    if (versions === undefined) this.#past.set(key, [version]);
    else versions.push(version);
  }
}

/** A random UUID (version 4) as bytes. */
function randomUuid(): Buffer {
  const bytes = randomBytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes;
}
