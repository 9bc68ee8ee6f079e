/** BSON type bytes whose values MongoDB compares with one another: 1 (Int32), 1 (Int64), 1.0 and Decimal 1 are one `_id`. */
const NUMBER_CLASS = 0x01;
const STRING_CLASS = 0x02;
const CLASSES = new Map([
  [0x01, NUMBER_CLASS], // double
  [0x10, NUMBER_CLASS], // int32
  [0x12, NUMBER_CLASS], // int64
  [0x13, NUMBER_CLASS], // decimal128
  [0x02, STRING_CLASS], // string
  [0x0e, STRING_CLASS], // symbol
]);

/**
 * The class of a BSON type byte: types within which two `_id`s that print the same are the same `_id`. Two `_id`s of
 * different classes are different documents even where they print the same (`"1"` and `1`).
 */
export function idTypeClass(type: number): number {
  return CLASSES.get(type) ?? type;
}
