/**
 * Reading BSON where it lies (bsonspec.org): elements as ranges of bytes, so that documents pass through the server
 * without being decoded.
 */

/** BSON type bytes that the server looks at. */
export const BSON_TYPE = {
  double: 0x01,
  string: 0x02,
  document: 0x03,
  array: 0x04,
  binary: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  boolean: 0x08,
  date: 0x09,
  null: 0x0a,
  regularExpression: 0x0b,
  dbPointer: 0x0c,
  code: 0x0d,
  symbol: 0x0e,
  codeWithScope: 0x0f,
  int32: 0x10,
  timestamp: 0x11,
  int64: 0x12,
  decimal128: 0x13,
  maxKey: 0x7f,
  minKey: 0xff,
} as const;

/** One element: its type byte and where its name and value lie. */
export interface RawElement {
  readonly type: number;
  /** Where the type byte is. */
  readonly start: number;
  readonly nameStart: number;
  /** Exclusive; the byte there is the name's NUL. */
  readonly nameEnd: number;
  readonly valueStart: number;
  /** Exclusive. */
  readonly valueEnd: number;
}

/** The smallest document. */
export const EMPTY_DOCUMENT: Buffer = Buffer.from([5, 0, 0, 0, 0]);

/** Length in bytes of the value of this type that begins at `at`; RangeError for a type that BSON does not have. */
export function valueLength(bytes: Buffer, type: number, at: number): number {
  switch (type) {
    case BSON_TYPE.int32:
      return 4;
    case BSON_TYPE.double:
    case BSON_TYPE.date:
    case BSON_TYPE.timestamp:
    case BSON_TYPE.int64:
      return 8;
    case BSON_TYPE.string:
    case BSON_TYPE.code:
    case BSON_TYPE.symbol:
      return 4 + length(bytes, at);
    case BSON_TYPE.document:
    case BSON_TYPE.array:
    case BSON_TYPE.codeWithScope:
      return length(bytes, at);
    case BSON_TYPE.binary:
      return 5 + length(bytes, at);
    case BSON_TYPE.objectId:
      return 12;
    case BSON_TYPE.boolean:
      return 1;
    case BSON_TYPE.undefined:
    case BSON_TYPE.null:
    case BSON_TYPE.minKey:
    case BSON_TYPE.maxKey:
      return 0;
    case BSON_TYPE.decimal128:
      return 16;
    case BSON_TYPE.dbPointer:
      return 4 + length(bytes, at) + 12;
    case BSON_TYPE.regularExpression:
      return bytes.indexOf(0, bytes.indexOf(0, at) + 1) + 1 - at;
    default:
      throw new RangeError(`BSON type 0x${type.toString(16)} is unknown`);
  }
}

function length(bytes: Buffer, at: number): number {
  const value = bytes.readInt32LE(at);
  if (value < 0) throw new RangeError("a BSON length is negative");
  return value;
}

/** The elements of the document that begins at `start`, in order; RangeError where it is malformed. */
export function* elementsOf(bytes: Buffer, start = 0): Generator<RawElement> {
  const end = start + bytes.readInt32LE(start) - 1;
  if (end < start + 4 || end >= bytes.length) throw new RangeError("a BSON document is longer than its bytes");
  let at = start + 4;
  while (at < end) {
    const element = elementAt(bytes, at);
    if (element.valueEnd > end) throw new RangeError("a BSON value is longer than its document");
    yield element;
    at = element.valueEnd;
  }
}

/** The element whose type byte is at `at`. */
export function elementAt(bytes: Buffer, at: number): RawElement {
  const type = bytes[at] ?? 0;
  const nameEnd = bytes.indexOf(0, at + 1);
  if (nameEnd < 0) throw new RangeError("a BSON name does not end");
  const valueStart = nameEnd + 1;
  return {
    type,
    start: at,
    nameStart: at + 1,
    nameEnd,
    valueStart,
    valueEnd: valueStart + valueLength(bytes, type, valueStart),
  };
}

/** The first element of this name at the document's top level. */
export function findElement(bytes: Buffer, name: string): RawElement | null {
  for (const element of elementsOf(bytes)) if (nameOf(bytes, element) === name) return element;
  return null;
}

/** The name of an element. */
export function nameOf(bytes: Buffer, element: RawElement): string {
  return bytes.toString("utf8", element.nameStart, element.nameEnd);
}

/** Bytes of the value. For a document or an array these are whole BSON documents of their own. */
export function valueOf(bytes: Buffer, element: RawElement): Buffer {
  return bytes.subarray(element.valueStart, element.valueEnd);
}

/** The documents of a BSON array, as views of its bytes. */
export function documentsOf(bytes: Buffer, array: RawElement): Buffer[] {
  const documents: Buffer[] = [];
  for (const element of elementsOf(bytes, array.valueStart)) {
    if (element.type !== BSON_TYPE.document) throw new RangeError("an array of documents holds something else");
    documents.push(valueOf(bytes, element));
  }
  return documents;
}

/**
 * The element `_id`, which is the first of every stored document. For documents that arrive without being stored it
 * may be anywhere, or absent.
 */
export function idElementOf(document: Buffer): RawElement | null {
  // "_id" and its NUL.
  const isFirst =
    document.length > 8 && document[5] === 0x5f && document[6] === 0x69 && document[7] === 0x64 && document[8] === 0;
  return isFirst ? elementAt(document, 4) : findElement(document, "_id");
}

/** A document of elements that are given as bytes (type, name, value), in that order. */
export function documentOfElements(parts: readonly Buffer[]): Buffer {
  let size = 5;
  for (const part of parts) size += part.length;
  const document = Buffer.allocUnsafe(size);
  document.writeInt32LE(size, 0);
  let at = 4;
  for (const part of parts) at += part.copy(document, at);
  document[at] = 0;
  return document;
}

/** The element's bytes: type, name, value. */
export function elementBytes(bytes: Buffer, element: RawElement): Buffer {
  return bytes.subarray(element.start, element.valueEnd);
}

/** What stands between a document's length and its closing NUL. */
export function bodyOf(document: Buffer): Buffer {
  return document.subarray(4, document.length - 1);
}
