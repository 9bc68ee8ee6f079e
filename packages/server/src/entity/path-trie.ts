import { BSON_TYPE, BSON_TYPE_MISSING } from "./bson-type.ts";
import { BsonError, forEachElement, int32At, valueEnd } from "./bson-value.ts";
import type { PathStep } from "./json-path.ts";

const NO_BYTES = Buffer.alloc(0);

/** Hash of a field name's bytes, computed while the walk looks for the name's end anyway. */
function nextHash(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

class TrieNode {
  /** Which results the value here is. */
  readonly slots: number[] = [];
  readonly names = new NameTable();
  readonly indexes = new Map<number, TrieNode>();
  hasNegativeIndex = false;
  /** The walk that last came by here: a repeated field name is ignored, the first one counts as in MongoDB. */
  walk = 0;

  child(step: PathStep): TrieNode {
    if (typeof step === "string") return this.names.child(step);
    let node = this.indexes.get(step);
    if (node === undefined) {
      node = new TrieNode();
      this.indexes.set(step, node);
      if (step < 0) this.hasNegativeIndex = true;
    }
    return node;
  }
}

interface NameEntry {
  readonly name: Buffer;
  readonly hash: number;
  readonly node: TrieNode;
}

/** Wanted field names of one document, found by hash and compared as bytes: a key of any spelling is only bytes. */
class NameTable {
  readonly #entries: NameEntry[] = [];
  #buckets: (NameEntry | null)[] = [];
  #mask = 0;

  get size(): number {
    return this.#entries.length;
  }

  child(text: string): TrieNode {
    const name = Buffer.from(text, "utf8");
    const known = this.#entries.find((entry) => entry.name.equals(name));
    if (known !== undefined) return known.node;
    const entry = { name, hash: name.reduce(nextHash, 0), node: new TrieNode() };
    this.#entries.push(entry);
    this.#rebuild();
    return entry.node;
  }

  /** The node of the name in [start, end), or null. */
  find(bytes: Buffer, hash: number, start: number, end: number): TrieNode | null {
    let bucket = (hash ^ (hash >>> 15)) & this.#mask;
    for (;;) {
      const entry = this.#buckets[bucket]!;
      if (entry === null) return null;
      if (entry.hash === hash && isSame(entry.name, bytes, start, end)) return entry.node;
      bucket = (bucket + 1) & this.#mask;
    }
  }

  /** Open addressing, at most a quarter full, so that a name that nobody wants is dismissed at once. */
  #rebuild(): void {
    let size = 4;
    while (size < this.#entries.length * 4) size *= 2;
    this.#mask = size - 1;
    this.#buckets = new Array<NameEntry | null>(size).fill(null);
    for (const entry of this.#entries) {
      let bucket = (entry.hash ^ (entry.hash >>> 15)) & this.#mask;
      while (this.#buckets[bucket] !== null) bucket = (bucket + 1) & this.#mask;
      this.#buckets[bucket] = entry;
    }
  }
}

function isSame(name: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (end - start !== name.length) return false;
  for (let index = 0; index < name.length; index++) {
    if (name[index] !== bytes[start + index]) return false;
  }
  return true;
}

/**
 * Finds the values at a set of plain paths in the bytes of a BSON document, in one walk that decodes nothing and stops
 * once all are found. After `extract`, path number i has its BSON type in `types[i]` (`BSON_TYPE_MISSING` for no match)
 * and its first byte in `starts[i]`, until the next `extract`.
 */
export class PathTrie {
  readonly types: Uint8Array;
  readonly starts: Int32Array;
  readonly #root = new TrieNode();
  #bytes: Buffer = NO_BYTES;
  #walkCount = 0;

  /** A null path keeps a place that the caller fills after `extract`. */
  constructor(paths: readonly (readonly PathStep[] | null)[]) {
    this.types = new Uint8Array(paths.length);
    this.starts = new Int32Array(paths.length);
    for (const [slot, steps] of paths.entries()) {
      if (steps === null) continue;
      let node = this.#root;
      for (const step of steps) node = node.child(step);
      node.slots.push(slot);
    }
  }

  /** Throws `BsonError` where what it walks over is malformed. */
  extract(bytes: Buffer): void {
    this.#bytes = bytes;
    this.types.fill(BSON_TYPE_MISSING);
    // A document is all of its bytes: what was cut short or has something behind it is not one.
    if (valueEnd(bytes, BSON_TYPE.document, 0, bytes.length) !== bytes.length) {
      throw new BsonError("malformed BSON: the document's length is not that of its bytes");
    }
    this.#take(this.#root, BSON_TYPE.document, 0);
    this.#bytes = NO_BYTES;
  }

  #take(node: TrieNode, type: number, start: number): void {
    for (const slot of node.slots) {
      this.types[slot] = type;
      this.starts[slot] = start;
    }
    if (type === BSON_TYPE.document && node.names.size > 0) this.#walkDocument(node.names, start);
    else if (type === BSON_TYPE.array && node.indexes.size > 0) this.#walkArray(node, start);
  }

  #walkDocument(names: NameTable, start: number): void {
    const bytes = this.#bytes;
    const last = start + int32At(bytes, start) - 1;
    const walk = ++this.#walkCount;
    let wanted = names.size;
    let offset = start + 4;
    while (offset < last) {
      const type = bytes[offset++]!;
      const nameStart = offset;
      let hash = 0;
      // The document's last byte is 0 (`valueEnd` has looked), so this ends there at the latest.
      for (let byte = bytes[offset]!; byte !== 0; byte = bytes[++offset]!) hash = nextHash(hash, byte);
      if (offset >= last) throw new BsonError("malformed BSON: a name without an end");
      const valueStart = offset + 1;
      const end = valueEnd(bytes, type, valueStart, last);
      const child = names.find(bytes, hash, nameStart, offset);
      if (child !== null && child.walk !== walk) {
        child.walk = walk;
        this.#take(child, type, valueStart);
        if (--wanted === 0) return;
      }
      offset = end;
    }
  }

  #walkArray(node: TrieNode, start: number): void {
    const count = node.hasNegativeIndex ? this.#countElements(start) : 0;
    let wanted = node.indexes.size;
    this.#walkElements(start, (type, valueStart, index) => {
      const fromStart = node.indexes.get(index);
      const fromEnd = node.hasNegativeIndex ? node.indexes.get(index - count) : undefined;
      if (fromStart !== undefined) this.#take(fromStart, type, valueStart);
      if (fromEnd !== undefined) this.#take(fromEnd, type, valueStart);
      wanted -= (fromStart === undefined ? 0 : 1) + (fromEnd === undefined ? 0 : 1);
      return wanted > 0;
    });
  }

  #countElements(start: number): number {
    let count = 0;
    this.#walkElements(start, () => ++count > 0);
    return count;
  }

  /** Elements by their order; the names that BSON gives them say nothing that the order doesn't. */
  #walkElements(start: number, visit: (type: number, valueStart: number, index: number) => boolean): void {
    let index = 0;
    forEachElement(this.#bytes, start, this.#bytes.length, (type, _nameStart, _nameEnd, valueStart) =>
      visit(type, valueStart, index++),
    );
  }
}
