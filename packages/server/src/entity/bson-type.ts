/** Type bytes of BSON elements (https://bsonspec.org/spec.html). */
export const BSON_TYPE = {
  double: 0x01,
  string: 0x02,
  document: 0x03,
  array: 0x04,
  binary: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  bool: 0x08,
  date: 0x09,
  null: 0x0a,
  regex: 0x0b,
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

/** Stands for "there is no such field" where a type byte is expected; no BSON element has it. */
export const BSON_TYPE_MISSING = 0;

const NAMES: ReadonlyMap<number, string> = new Map([
  [BSON_TYPE.double, "Double"],
  [BSON_TYPE.string, "string"],
  [BSON_TYPE.document, "document"],
  [BSON_TYPE.array, "array"],
  [BSON_TYPE.binary, "Binary"],
  [BSON_TYPE.undefined, "undefined"],
  [BSON_TYPE.objectId, "ObjectId"],
  [BSON_TYPE.bool, "bool"],
  [BSON_TYPE.date, "Date"],
  [BSON_TYPE.null, "null"],
  [BSON_TYPE.regex, "regular expression"],
  [BSON_TYPE.dbPointer, "DBPointer"],
  [BSON_TYPE.code, "JavaScript code"],
  [BSON_TYPE.symbol, "symbol"],
  [BSON_TYPE.codeWithScope, "JavaScript code with scope"],
  [BSON_TYPE.int32, "Int32"],
  [BSON_TYPE.timestamp, "Timestamp"],
  [BSON_TYPE.int64, "Int64"],
  [BSON_TYPE.decimal128, "Decimal128"],
  [BSON_TYPE.maxKey, "MaxKey"],
  [BSON_TYPE.minKey, "MinKey"],
]);

/** What messages call a BSON type. */
export function bsonTypeName(type: number): string {
  return NAMES.get(type) ?? `BSON type 0x${type.toString(16).padStart(2, "0")}`;
}
