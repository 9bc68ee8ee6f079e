/**
 * Reading BSON where it lies (bsonspec.org): the elements of a document's top level, as ranges of its bytes.
 * Change events and cursor replies are taken apart this way, so that no document in them is decoded.
 */

/** One element: its type byte and where its name and value lie. */
export interface RawElement {
  readonly type: number;
  readonly nameStart: number;
  /** Exclusive; the byte there is the name's NUL. */
  readonly nameEnd: number;
  readonly valueStart: number;
  /** Exclusive. */
  readonly valueEnd: number;
}

/** Value lengths of the types whose length is fixed, by type byte. */
const FIXED_LENGTHS: Readonly<Record<number, number>> = {
  0x01: 8, // double
  0x06: 0, // undefined
  0x07: 12, // ObjectId
  0x08: 1, // bool
  0x09: 8, // date
  0x0a: 0, // null
  0x10: 4, // int32
  0x11: 8, // timestamp
  0x12: 8, // int64
  0x13: 16, // decimal128
  0x7f: 0, // max key
  0xff: 0, // min key
};

/** A name longer than this is looked for natively; most are shorter than such a call costs. */
const SHORT_NAME_LENGTH = 24;

function endOfName(bytes: Buffer, start: number): number {
  for (let at = start; at < start + SHORT_NAME_LENGTH; at++) if (bytes[at] === 0) return at;
  return bytes.indexOf(0, start);
}

/** Calls `visit` for each element of the document that begins at `start`; throws RangeError where it is malformed. */
export function forEachElement(bytes: Buffer, start: number, visit: (element: RawElement) => void): void {
  const end = start + bytes.readInt32LE(start) - 1;
  if (end <= start || end >= bytes.length) throw new RangeError("a BSON document is longer than its bytes");
  let at = start + 4;
  while (at < end) {
    const type = bytes[at] ?? 0;
    const nameStart = at + 1;
    const nameEnd = endOfName(bytes, nameStart);
    if (nameEnd < 0 || nameEnd >= end) throw new RangeError("a BSON name does not end");
    const valueStart = nameEnd + 1;
    const valueEnd = valueStart + valueLength(bytes, type, valueStart);
    if (valueEnd > end) throw new RangeError("a BSON value is longer than its document");
    visit({ type, nameStart, nameEnd, valueStart, valueEnd });
    at = valueEnd;
  }
}

function valueLength(bytes: Buffer, type: number, at: number): number {
  const fixed = FIXED_LENGTHS[type];
  if (fixed !== undefined) return fixed;
  switch (type) {
    case 0x02: // string
    case 0x0d: // code
    case 0x0e: // symbol
      return 4 + positive(bytes.readInt32LE(at));
    case 0x03: // document
    case 0x04: // array
    case 0x0f: // code with scope
      return positive(bytes.readInt32LE(at));
    case 0x05: // binary
      return 5 + positive(bytes.readInt32LE(at));
    case 0x0c: // DBPointer
      return 4 + positive(bytes.readInt32LE(at)) + 12;
    case 0x0b: // regular expression: two C strings
      return bytes.indexOf(0, bytes.indexOf(0, at) + 1) + 1 - at;
    default:
      throw new RangeError(`BSON type 0x${type.toString(16)} is unknown`);
  }
}

function positive(length: number): number {
  if (length < 0) throw new RangeError("a BSON length is negative");
  return length;
}

/** The name of an element. */
export function nameOf(bytes: Buffer, element: RawElement): string {
  return bytes.toString("utf8", element.nameStart, element.nameEnd);
}

/** Bytes of the value. For a document or an array these are whole BSON documents of their own. */
export function valueOf(bytes: Buffer, element: RawElement): Buffer {
  return bytes.subarray(element.valueStart, element.valueEnd);
}

/** Text of a BSON string element; null for an element of another type. */
export function stringOf(bytes: Buffer, element: RawElement): string | null {
  return element.type === 0x02 ? bytes.toString("utf8", element.valueStart + 4, element.valueEnd - 1) : null;
}

/** The first element of this name, of ASCII letters, at the document's top level. */
export function findElement(bytes: Buffer, name: string): RawElement | null {
  let found: RawElement | null = null;
  forEachElement(bytes, 0, (element) => {
    if (found !== null || element.nameEnd - element.nameStart !== name.length) return;
    for (let index = 0; index < name.length; index++) {
      if (bytes[element.nameStart + index] !== name.charCodeAt(index)) return;
    }
    found = element;
  });
  return found;
}

/** The documents of a BSON array, as views of its bytes. */
export function documentsOf(bytes: Buffer, array: RawElement): Buffer[] {
  const documents: Buffer[] = [];
  forEachElement(bytes, array.valueStart, (element) => {
    if (element.type !== 0x03) throw new RangeError("an array of documents holds something else");
    documents.push(valueOf(bytes, element));
  });
  return documents;
}

/**
 * Type and bytes of the document's `_id`, as a string that is equal exactly for equal bytes. Its events, its
 * looked-up state and its copied state carry the same bytes, because a document's `_id` never changes.
 */
export function idKeyOf(document: Buffer): string | null {
  // `_id` is the first element of nearly every document, but nothing guarantees it.
  if (
    document.length > 8 &&
    document[5] === 0x5f &&
    document[6] === 0x69 &&
    document[7] === 0x64 &&
    document[8] === 0
  ) {
    const type = document[4] ?? 0;
    return String.fromCharCode(type) + document.toString("latin1", 9, 9 + valueLength(document, type, 9));
  }
  const id = findElement(document, "_id");
  return id === null ? null : String.fromCharCode(id.type) + document.toString("latin1", id.valueStart, id.valueEnd);
}

/** A document `{name: value}` from the element's type and value bytes. */
export function singleElementDocument(name: string, type: number, value: Buffer): Buffer {
  const nameBytes = Buffer.from(name, "utf8");
  const size = 4 + 1 + nameBytes.length + 1 + value.length + 1;
  const document = Buffer.alloc(size);
  document.writeInt32LE(size, 0);
  document[4] = type;
  nameBytes.copy(document, 5);
  value.copy(document, 5 + nameBytes.length + 1);
  return document;
}
