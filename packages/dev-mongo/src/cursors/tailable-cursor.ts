import { CommandError } from "../command-error.ts";
import { NewsWait } from "../oplog/news-wait.ts";
import type { Oplog } from "../oplog/oplog.ts";
import { isDocumentEntry } from "../oplog/oplog-entry.ts";
import type { Collection } from "../store/collection.ts";
import { BATCH_BYTES_MAX, type Batch, type BatchLimits, type Cursor } from "./cursor.ts";

/**
 * A cursor on a capped collection that stays open at its end (MongoDB manual, "Tailable Cursors"): first what is
 * there, in the order of insertion, then what the oplog says is inserted.
 */
export class TailableCursor implements Cursor {
  readonly isAwaiting: boolean;
  readonly #collection: Collection;
  readonly #oplog: Oplog;
  readonly #accepts: (document: Buffer) => boolean;
  readonly #present: Iterator<{ readonly bytes: Buffer }>;
  readonly #news = new NewsWait();
  /** Where the oplog is followed from; null while the documents that were there are read. */
  #sequence: number | null = null;
  /** Read already, but it did not fit into the last reply. */
  #next: Buffer | null = null;
  #isClosed = false;

  constructor(
    collection: Collection,
    oplog: Oplog,
    options: { readonly isAwaiting: boolean; readonly accepts: (document: Buffer) => boolean },
  ) {
    this.#collection = collection;
    this.#oplog = oplog;
    this.isAwaiting = options.isAwaiting;
    this.#accepts = options.accepts;
    this.#present = collection.inNaturalOrder();
  }

  get namespace(): string {
    return this.#collection.namespace;
  }

  get isExhausted(): boolean {
    return this.#isClosed;
  }

  async next({ documentsMax, waitMs, signal }: BatchLimits): Promise<Batch> {
    const deadline = performance.now() + waitMs;
    for (;;) {
      const documents = this.#collect(documentsMax);
      const remainingMs = deadline - performance.now();
      if (documents.length > 0 || remainingMs <= 0 || this.#isClosed || signal.aborted)
        return { documents, token: null };
      await this.#news.wait(this.#oplog, remainingMs, signal);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#news.end();
  }

  #collect(documentsMax: number): Buffer[] {
    const documents: Buffer[] = [];
    let size = 0;
    while (documents.length < documentsMax && !this.#isClosed) {
      const document = this.#next ?? this.#read();
      this.#next = null;
      if (document === null) break;
      if (size + document.length > BATCH_BYTES_MAX && documents.length > 0) {
        this.#next = document;
        break;
      }
      documents.push(document);
      size += document.length;
    }
    return documents;
  }

  #read(): Buffer | null {
    if (this.#collection.isDropped) throw new CommandError(175, "collection dropped");
    while (this.#sequence === null) {
      const { value, done } = this.#present.next();
      if (done === true) this.#sequence = this.#oplog.end;
      else if (this.#accepts(value.bytes)) return value.bytes;
    }
    if (this.#sequence < this.#oplog.begin) {
      throw new CommandError(136, "CollectionScan died due to position in capped collection being deleted.");
    }
    while (this.#sequence < this.#oplog.end) {
      const entry = this.#oplog.at(this.#sequence++);
      if (entry === undefined || !isDocumentEntry(entry) || entry.operation !== "insert" || entry.after === null)
        continue;
      if (entry.namespace.uuid === this.#collection.uuid && this.#accepts(entry.after)) return entry.after;
    }
    return null;
  }
}
