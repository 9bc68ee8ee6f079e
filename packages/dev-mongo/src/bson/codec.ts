import { BSON, Decimal128, Double, Int32, Long } from "bson";

/** A decoded document. */
export interface BsonDocument {
  [field: string]: unknown;
}

/** Decodes with every number in its own class (Int32, Double, Long, Decimal128), so that encoding gives the same bytes. */
export function decodeTyped(bytes: Uint8Array): BsonDocument {
  return BSON.deserialize(bytes, { promoteValues: false, promoteBuffers: false, bsonRegExp: true });
}

/** Decodes a command's argument: as `decodeTyped`, but regular expressions are JavaScript's, for the query language. */
export function decodeArgument(bytes: Uint8Array): BsonDocument {
  return BSON.deserialize(bytes, { promoteValues: false, promoteBuffers: false, bsonRegExp: false });
}

/** Encodes; fields that are `undefined` are left out. */
export function encode(document: BsonDocument): Buffer {
  const bytes = BSON.serialize(document, { ignoreUndefined: true });
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The same value with plain JavaScript numbers, for mingo's expressions. Approximated: a Long beyond 2^53 becomes a
 * bigint, a Decimal128 stays as it is and does not take part in arithmetic, and what is computed is encoded as Int32
 * where it is a small whole number, whatever its inputs were.
 */
export function promote(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Int32 || value instanceof Double) return value.valueOf();
  if (value instanceof Long && value._bsontype === "Long") return promoteLong(value);
  if (Array.isArray(value)) return value.map(promote);
  if (!isDocument(value)) return value;
  const promoted: BsonDocument = {};
  for (const [field, inner] of Object.entries(value)) promoted[field] = promote(inner);
  return promoted;
}

function promoteLong(value: Long): number | bigint {
  const number = value.toNumber();
  return Number.isSafeInteger(number) ? number : value.toBigInt();
}

/** Whether it is a document, and not one of BSON's scalar classes or an array. */
export function isDocument(value: unknown): value is BsonDocument {
  if (value === null || typeof value !== "object") return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Whether it is a number of any BSON type. */
export function isNumeric(value: unknown): value is number | bigint | Int32 | Double | Long | Decimal128 {
  if (typeof value === "number" || typeof value === "bigint") return true;
  if (value instanceof Int32 || value instanceof Double || value instanceof Decimal128) return true;
  return value instanceof Long && value._bsontype === "Long";
}

/** A number of any BSON type as a JavaScript number; null for what is not a number. */
export function numberOf(value: unknown): number | null {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Int32 || value instanceof Double) return value.valueOf();
  if (value instanceof Long) return value.toNumber();
  if (value instanceof Decimal128) return Number(value.toString());
  return null;
}

/** As a command's boolean arguments are read: numbers count, null and absence are false. */
export function isTruthy(value: unknown): boolean {
  const number = numberOf(value);
  return number === null ? value !== undefined && value !== null && value !== false : number !== 0;
}
