import { BSON_TYPE } from "./bson-type.ts";

/**
 * Bytes that are not what BSON says they should be, or text in them that is not UTF-8. Never leaves this folder:
 * the row mapper turns it into a reject, with the message as its reason.
 */
export class BsonError extends Error {
  override readonly name = "BsonError";
}

/** Where a value of a document lies: its BSON type byte and the offset of its first byte. */
export interface BsonSlot {
  readonly type: number;
  readonly start: number;
}

/** Little-endian signed 32-bit integer. */
export function int32At(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24);
}

/** Little-endian signed 64-bit integer. */
export function int64At(bytes: Uint8Array, offset: number): bigint {
  return (BigInt(int32At(bytes, offset + 4)) << 32n) | BigInt(int32At(bytes, offset) >>> 0);
}

const scratchDouble = new Float64Array(1);
const scratchBytes = new Uint8Array(scratchDouble.buffer);

/** Little-endian IEEE 754 double; every platform that Node runs on is little-endian in memory too. */
export function doubleAt(bytes: Uint8Array, offset: number): number {
  for (let index = 0; index < 8; index++) scratchBytes[index] = bytes[offset + index]!;
  return scratchDouble[0]!;
}

/** Offset behind the NUL that ends the cstring at `offset`. Throws `BsonError` where none lies before `limit`. */
export function cstringEnd(bytes: Uint8Array, offset: number, limit: number): number {
  let end = offset;
  while (end < limit && bytes[end] !== 0) end++;
  if (end >= limit) throw new BsonError("malformed BSON: a name or pattern without an end");
  return end + 1;
}

function sized(bytes: Uint8Array, start: number, limit: number, sizeMin: number, extra: number): number {
  const size = start + 4 <= limit ? int32At(bytes, start) : -1;
  if (size < sizeMin) throw new BsonError("malformed BSON: a length that cannot be");
  return start + size + extra;
}

function rareValueEnd(bytes: Uint8Array, type: number, start: number, limit: number): number {
  switch (type) {
    case BSON_TYPE.undefined:
    case BSON_TYPE.null:
    case BSON_TYPE.minKey:
    case BSON_TYPE.maxKey:
      return start;
    case BSON_TYPE.decimal128:
      return start + 16;
    case BSON_TYPE.binary:
      return sized(bytes, start, limit, 0, 5);
    case BSON_TYPE.regex:
      return cstringEnd(bytes, cstringEnd(bytes, start, limit), limit);
    case BSON_TYPE.dbPointer:
      return sized(bytes, start, limit, 1, 4) + 12;
    case BSON_TYPE.codeWithScope:
      return sized(bytes, start, limit, 14, 0);
    default:
      throw new BsonError(`malformed BSON: unknown type 0x${type.toString(16).padStart(2, "0")}`);
  }
}

/**
 * Offset behind the value of `type` at `start`. Throws `BsonError` where the value would reach over `limit` or its
 * type or length is impossible. Looks at lengths and ends only, not at what a document or string holds.
 */
export function valueEnd(bytes: Uint8Array, type: number, start: number, limit: number): number {
  let end: number;
  switch (type) {
    case BSON_TYPE.double:
    case BSON_TYPE.int64:
    case BSON_TYPE.date:
    case BSON_TYPE.timestamp:
      end = start + 8;
      break;
    case BSON_TYPE.int32:
      end = start + 4;
      break;
    case BSON_TYPE.objectId:
      end = start + 12;
      break;
    case BSON_TYPE.bool:
      end = start + 1;
      break;
    case BSON_TYPE.string:
    case BSON_TYPE.code:
    case BSON_TYPE.symbol:
      end = sized(bytes, start, limit, 1, 4);
      if (bytes[end - 1] !== 0) throw new BsonError("malformed BSON: a string without its ending NUL");
      break;
    case BSON_TYPE.document:
    case BSON_TYPE.array:
      end = sized(bytes, start, limit, 5, 0);
      if (bytes[end - 1] !== 0) throw new BsonError("malformed BSON: a document without its ending NUL");
      break;
    default:
      end = rareValueEnd(bytes, type, start, limit);
  }
  if (end > limit) throw new BsonError("malformed BSON: a value that reaches over its document's end");
  return end;
}

/**
 * Calls `visit` with the elements of the document or array at `start`, in order, until it returns false.
 * `nameEnd` is the offset of the NUL behind the name, the value lies in [valueStart, end).
 * Throws `BsonError` where the bytes are malformed or would reach over `limit`.
 */
export function forEachElement(
  bytes: Uint8Array,
  start: number,
  limit: number,
  visit: (type: number, nameStart: number, nameEnd: number, valueStart: number, end: number) => boolean,
): void {
  const last = valueEnd(bytes, BSON_TYPE.document, start, limit) - 1;
  let offset = start + 4;
  while (offset < last) {
    const type = bytes[offset]!;
    const nameStart = offset + 1;
    const valueStart = cstringEnd(bytes, nameStart, last);
    offset = valueEnd(bytes, type, valueStart, last);
    if (!visit(type, nameStart, valueStart - 1, valueStart, offset)) return;
  }
}
