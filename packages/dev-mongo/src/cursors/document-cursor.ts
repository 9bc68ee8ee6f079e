import { BATCH_BYTES_MAX, type Batch, type BatchLimits, type Cursor } from "./cursor.ts";

/** A cursor over documents that a generator reads as they are asked for. */
export class DocumentCursor implements Cursor {
  readonly namespace: string;
  readonly isAwaiting = false;
  readonly #documents: Iterator<Buffer>;
  /** Read already, but it did not fit into the last reply. */
  #next: Buffer | null = null;
  #isExhausted = false;

  constructor(namespace: string, documents: Iterable<Buffer>) {
    this.namespace = namespace;
    this.#documents = documents[Symbol.iterator]();
  }

  get isExhausted(): boolean {
    return this.#isExhausted;
  }

  next({ documentsMax }: Pick<BatchLimits, "documentsMax">): Batch {
    const documents: Buffer[] = [];
    let size = 0;
    while (documents.length < documentsMax) {
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
    return { documents, token: null };
  }

  close(): void {
    this.#documents.return?.();
  }

  #read(): Buffer | null {
    const { value, done } = this.#documents.next();
    if (done !== true) return value;
    this.#isExhausted = true;
    return null;
  }
}
