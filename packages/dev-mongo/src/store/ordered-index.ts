/** A stored document. Its bytes never change: an update replaces them by others. */
export interface StoredDocument {
  /** Key string of `_id`. */
  readonly key: string;
  bytes: Buffer;
}

/** Entries a chunk holds before it is split; insertion moves half of these at most. */
const CHUNK_MAX = 1024;

/**
 * Documents in the order of their keys: sorted chunks in a sorted list, which is fast for keys that arrive in order
 * and good enough for a million that do not.
 */
export class OrderedIndex {
  #chunks: StoredDocument[][] = [];
  size = 0;

  insert(document: StoredDocument): void {
    this.size++;
    const last = this.#chunks.at(-1);
    if (last === undefined) {
      this.#chunks.push([document]);
      return;
    }
    if (document.key > (last.at(-1)?.key ?? "")) {
      if (last.length < CHUNK_MAX) last.push(document);
      else this.#chunks.push([document]);
      return;
    }
    const index = this.#chunkOf(document.key);
    const chunk = this.#chunks[index];
    if (chunk === undefined) throw new RangeError("an index has no chunk for a key below its greatest");
    chunk.splice(lowerBound(chunk, document.key), 0, document);
    if (chunk.length > CHUNK_MAX) this.#chunks.splice(index + 1, 0, chunk.splice(CHUNK_MAX >>> 1));
  }

  remove(key: string): void {
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index];
    if (chunk === undefined) return;
    const place = lowerBound(chunk, key);
    if (chunk[place]?.key !== key) return;
    chunk.splice(place, 1);
    this.size--;
    if (chunk.length === 0) this.#chunks.splice(index, 1);
  }

  /**
   * Documents from `low` (inclusive) to `high` (exclusive), read as they are when `next` comes to them: what is
   * inserted ahead of the scan is seen, what is removed is not.
   */
  scan(low: string | null, high: string | null): IndexScan {
    return new IndexScan(() => this.#chunks, low, high);
  }

  /** The same from the end to the beginning. */
  *backward(low: string | null, high: string | null): Generator<StoredDocument> {
    // A copy of the references: backward scans are rare, and live ones would gain little.
    const documents = this.#chunks.flat();
    for (let index = documents.length - 1; index >= 0; index--) {
      const document = documents[index];
      if (document === undefined || (high !== null && document.key >= high)) continue;
      if (low !== null && document.key < low) return;
      yield document;
    }
  }

  #chunkOf(key: string): number {
    return chunkOf(this.#chunks, key);
  }
}

/** Index of the first chunk whose last key is not below `key`; the number of chunks where there is none. */
function chunkOf(chunks: readonly StoredDocument[][], key: string): number {
  let low = 0;
  let high = chunks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((chunks[middle]?.at(-1)?.key ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function lowerBound(chunk: readonly StoredDocument[], key: string): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((chunk[middle]?.key ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A scan that may pause for any time between two documents; it finds its place again by the key it gave last. */
export class IndexScan {
  readonly #current: () => StoredDocument[][];
  readonly #high: string | null;
  #chunk: StoredDocument[] = [];
  #place = 0;
  #lastKey: string | null = null;
  readonly #low: string | null;

  constructor(current: () => StoredDocument[][], low: string | null, high: string | null) {
    this.#current = current;
    this.#low = low;
    this.#high = high;
  }

  next(): StoredDocument | null {
    let document = this.#chunk[this.#place];
    const previous = this.#place === 0 ? null : this.#chunk[this.#place - 1]?.key;
    if (document === undefined || previous !== this.#lastKey) {
      document = this.#seek();
      if (document === undefined) return null;
    }
    if (this.#high !== null && document.key >= this.#high) return null;
    this.#place++;
    this.#lastKey = document.key;
    return document;
  }

  /** The chunk may have been split, or the place moved: looks for the first key after the last one given. */
  #seek(): StoredDocument | undefined {
    const from = this.#lastKey === null ? this.#low : `${this.#lastKey}\0`;
    const chunks = this.#current();
    const index = from === null ? 0 : chunkOf(chunks, from);
    this.#chunk = chunks[index] ?? [];
    this.#place = from === null ? 0 : lowerBound(this.#chunk, from);
    return this.#chunk[this.#place];
  }
}
