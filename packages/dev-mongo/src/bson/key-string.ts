import { BSON, Decimal128 } from "bson";
import { type ExactNumber, exactOfDecimalText, exactOfDouble, exactOfInteger } from "./exact-decimal.ts";
import { KeyWriter } from "./key-writer.ts";
import { BSON_TYPE, type RawElement, elementAt, elementsOf } from "./raw-document.ts";

/**
 * Values as byte strings whose order is BSON's (MongoDB manual, "Comparison/Sort Order"), and which are equal exactly
 * for values that MongoDB holds equal: 1, 1.0 and Decimal128 1 are one key. Modelled on MongoDB's KeyString
 * (key_string.cpp): the type bytes, integers, strings, documents and the like are byte for byte its own, so that
 * resume tokens look as the server's do. Numbers with a fraction or of 2^63 and beyond are written as exact decimal
 * digits instead, which orders doubles and decimals correctly among each other without the server's two-step form.
 *
 * A key is held as a string of the bytes as Latin-1 characters: JavaScript compares those byte by byte, and they can
 * be a Map's keys.
 */

/** First bytes of keys, by type class (MongoDB's CType). */
export const KEY_CLASS = {
  minKey: 0x0a,
  undefined: 0x0f,
  null: 0x14,
  numericNaN: 0x1e,
  numericNegativeLarge: 0x1f,
  numericNegativeSmall: 0x28,
  numericZero: 0x29,
  numericPositiveSmall: 0x2a,
  numericPositive1Byte: 0x2b,
  numericPositiveLarge: 0x33,
  string: 0x3c,
  document: 0x46,
  array: 0x50,
  binary: 0x5a,
  objectId: 0x64,
  boolean: 0x6e,
  date: 0x78,
  timestamp: 0x82,
  regularExpression: 0x8c,
  dbPointer: 0x96,
  code: 0xa0,
  codeWithScope: 0xaa,
  maxKey: 0xf0,
} as const;

/** Greatest number of leading zeros of a fraction, and of digits of an integer, that a key's two bytes hold. */
const DIGIT_COUNT_MAX = 0xffff;

const DATE_SIGN = 1n << 63n;

/** `_id` and its NUL, as a key holds a field's name. */
const ID_NAME = Buffer.from("_id\0", "latin1");

/** One serves all keys, since making one never yields. */
const writer = new KeyWriter();

/** The key of a value that lies in a document. */
export function keyOfElement(bytes: Buffer, element: Pick<RawElement, "type" | "valueStart" | "valueEnd">): string {
  writer.length = 0;
  writeValue(bytes, element.type, element.valueStart, element.valueEnd);
  return writer.take();
}

/**
 * Writes the key of the document `{_id: value}` as upper-case hex digits into `target`, which must have room: twice
 * the value's bytes and a little, except for numbers with many digits.
 *
 * @returns where it ended
 */
export function writeIdDocumentKeyHex(bytes: Buffer, id: RawElement, target: Buffer, at: number): number {
  writer.length = 0;
  writer.byte(KEY_CLASS.document);
  writer.byte(classOf(id.type));
  writer.copy(ID_NAME, 0, ID_NAME.length);
  writeValue(bytes, id.type, id.valueStart, id.valueEnd);
  writer.byte(0);
  if (at + writer.length * 2 > target.length) throw new RangeError("an _id is too large for a resume token");
  return writer.takeHex(target, at);
}

/** The key of a decoded value; `undefined` is a missing field, which sorts and compares as null. */
export function keyOfValue(value: unknown): string {
  const bytes = BSON.serialize({ "": value ?? null });
  const document = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return keyOfElement(document, elementAt(document, 4));
}

/** Orders decoded values as BSON does: negative, 0 or positive. */
export function compareValues(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number" && a - b !== 0 && !Number.isNaN(a - b)) return a - b;
  const keyA = keyOfValue(a);
  const keyB = keyOfValue(b);
  if (keyA === keyB) return 0;
  return keyA < keyB ? -1 : 1;
}

/** Whether the key is that of a number. */
export function isNumericKey(key: string): boolean {
  const first = key.charCodeAt(0);
  return first >= KEY_CLASS.numericNaN && first <= KEY_CLASS.numericPositiveLarge;
}

/** Bounds of all keys that `$gt`, `$lt` and the like compare with this one: low inclusive, high exclusive. */
export function typeBracketOf(key: string): { readonly low: string; readonly high: string } {
  const first = key.charCodeAt(0);
  if (isNumericKey(key)) {
    if (first === KEY_CLASS.numericNaN) return bracket(first, first);
    return bracket(KEY_CLASS.numericNegativeLarge, KEY_CLASS.numericPositiveLarge);
  }
  if (first === KEY_CLASS.boolean || first === KEY_CLASS.boolean + 1) {
    return bracket(KEY_CLASS.boolean, KEY_CLASS.boolean + 1);
  }
  return bracket(first, first);
}

function bracket(first: number, last: number): { readonly low: string; readonly high: string } {
  return { low: String.fromCharCode(first), high: String.fromCharCode(last + 1) };
}

function writeValue(bytes: Buffer, type: number, start: number, end: number): void {
  switch (type) {
    case BSON_TYPE.int32:
      return writeInteger(bytes.readInt32LE(start));
    case BSON_TYPE.int64: {
      const value = bytes.readBigInt64LE(start);
      const small = Number(value);
      if (Number.isSafeInteger(small)) return writeInteger(small);
      return writeExact(exactOfInteger(value));
    }
    case BSON_TYPE.double: {
      const value = bytes.readDoubleLE(start);
      if (Number.isSafeInteger(value)) return writeInteger(value);
      return writeExact(exactOfDouble(value));
    }
    case BSON_TYPE.decimal128:
      return writeExact(exactOfDecimalText(new Decimal128(bytes.subarray(start, end)).toString()));
    case BSON_TYPE.objectId:
      writer.byte(KEY_CLASS.objectId);
      return writer.copy(bytes, start, end);
    case BSON_TYPE.string:
    case BSON_TYPE.symbol:
      writer.byte(KEY_CLASS.string);
      return writeText(bytes, start + 4, end - 1);
    case BSON_TYPE.document:
      return writeDocument(bytes, start);
    case BSON_TYPE.array:
      return writeArray(bytes, start);
    case BSON_TYPE.boolean:
      return writer.byte(KEY_CLASS.boolean + (bytes[start] === 0 ? 0 : 1));
    default:
      return writeRarer(bytes, type, start, end);
  }
}

function writeRarer(bytes: Buffer, type: number, start: number, end: number): void {
  switch (type) {
    case BSON_TYPE.minKey:
      return writer.byte(KEY_CLASS.minKey);
    case BSON_TYPE.undefined:
      return writer.byte(KEY_CLASS.undefined);
    case BSON_TYPE.null:
      return writer.byte(KEY_CLASS.null);
    case BSON_TYPE.binary:
      return writeBinary(bytes, start, end);
    case BSON_TYPE.date:
      writer.byte(KEY_CLASS.date);
      return writer.bigEndian64(BigInt.asUintN(64, bytes.readBigInt64LE(start)) ^ DATE_SIGN);
    case BSON_TYPE.timestamp:
      writer.byte(KEY_CLASS.timestamp);
      return writer.bigEndian64(bytes.readBigUInt64LE(start));
    case BSON_TYPE.regularExpression:
      writer.byte(KEY_CLASS.regularExpression);
      return writer.copy(bytes, start, end);
    case BSON_TYPE.dbPointer:
      writer.byte(KEY_CLASS.dbPointer);
      return writer.copy(bytes, start, end);
    case BSON_TYPE.code:
      writer.byte(KEY_CLASS.code);
      return writeText(bytes, start + 4, end - 1);
    case BSON_TYPE.codeWithScope: {
      const codeLength = bytes.readInt32LE(start + 4);
      writer.byte(KEY_CLASS.codeWithScope);
      writeText(bytes, start + 8, start + 8 + codeLength - 1);
      return writeDocument(bytes, start + 8 + codeLength);
    }
    case BSON_TYPE.maxKey:
      return writer.byte(KEY_CLASS.maxKey);
    default:
      throw new RangeError(`BSON type 0x${type.toString(16)} is unknown`);
  }
}

/** Text, its NULs followed by 0xFF, ended by a NUL: a prefix sorts before what it is a prefix of. */
function writeText(bytes: Buffer, start: number, end: number): void {
  for (let at = start; ;) {
    const nul = bytes.indexOf(0, at);
    if (nul < 0 || nul >= end) {
      writer.copy(bytes, at, end);
      return writer.byte(0);
    }
    writer.copy(bytes, at, nul + 1);
    writer.byte(0xff);
    at = nul + 1;
  }
}

/** First by length, then by subtype, then by content. */
function writeBinary(bytes: Buffer, start: number, end: number): void {
  const size = bytes.readInt32LE(start);
  writer.byte(KEY_CLASS.binary);
  if (size < 0xff) writer.byte(size);
  else {
    writer.byte(0xff);
    for (let shift = 24; shift >= 0; shift -= 8) writer.byte((size >>> shift) & 0xff);
  }
  writer.copy(bytes, start + 4, end);
}

/** Field by field: type class, then name, then value; a document that ends earlier sorts first. */
function writeDocument(bytes: Buffer, start: number): void {
  writer.byte(KEY_CLASS.document);
  for (const element of elementsOf(bytes, start)) {
    writer.byte(classOf(element.type));
    writer.copy(bytes, element.nameStart, element.nameEnd + 1);
    writeValue(bytes, element.type, element.valueStart, element.valueEnd);
  }
  writer.byte(0);
}

function writeArray(bytes: Buffer, start: number): void {
  writer.byte(KEY_CLASS.array);
  for (const element of elementsOf(bytes, start)) {
    writeValue(bytes, element.type, element.valueStart, element.valueEnd);
  }
  writer.byte(0);
}

const CLASS_OF_TYPE: Readonly<Record<number, number>> = {
  [BSON_TYPE.minKey]: KEY_CLASS.minKey,
  [BSON_TYPE.undefined]: KEY_CLASS.undefined,
  [BSON_TYPE.null]: KEY_CLASS.null,
  [BSON_TYPE.int32]: KEY_CLASS.numericNaN,
  [BSON_TYPE.int64]: KEY_CLASS.numericNaN,
  [BSON_TYPE.double]: KEY_CLASS.numericNaN,
  [BSON_TYPE.decimal128]: KEY_CLASS.numericNaN,
  [BSON_TYPE.string]: KEY_CLASS.string,
  [BSON_TYPE.symbol]: KEY_CLASS.string,
  [BSON_TYPE.document]: KEY_CLASS.document,
  [BSON_TYPE.array]: KEY_CLASS.array,
  [BSON_TYPE.binary]: KEY_CLASS.binary,
  [BSON_TYPE.objectId]: KEY_CLASS.objectId,
  [BSON_TYPE.boolean]: KEY_CLASS.boolean,
  [BSON_TYPE.date]: KEY_CLASS.date,
  [BSON_TYPE.timestamp]: KEY_CLASS.timestamp,
  [BSON_TYPE.regularExpression]: KEY_CLASS.regularExpression,
  [BSON_TYPE.dbPointer]: KEY_CLASS.dbPointer,
  [BSON_TYPE.code]: KEY_CLASS.code,
  [BSON_TYPE.codeWithScope]: KEY_CLASS.codeWithScope,
  [BSON_TYPE.maxKey]: KEY_CLASS.maxKey,
};

function classOf(type: number): number {
  return CLASS_OF_TYPE[type] ?? 0;
}

/** A safe integer: its class tells how many bytes its magnitude, shifted by the bit "has a fraction", takes. */
function writeInteger(value: number): void {
  if (value === 0) return writer.byte(KEY_CLASS.numericZero);
  const start = writer.length;
  const magnitude = Math.abs(value) * 2;
  if (magnitude < 0x100) {
    writer.byte(value < 0 ? KEY_CLASS.numericNegativeSmall - 1 : KEY_CLASS.numericPositive1Byte);
    writer.byte(magnitude);
  } else writeMagnitude(value < 0, magnitude);
  if (value < 0) writer.invertFrom(start + 1);
}

function writeMagnitude(isNegative: boolean, magnitude: number): void {
  let count = 1;
  for (let rest = magnitude; rest >= 0x100; rest = Math.floor(rest / 0x100)) count++;
  writer.byte(isNegative ? KEY_CLASS.numericNegativeSmall - count : KEY_CLASS.numericPositive1Byte - 1 + count);
  for (let index = count - 1; index >= 0; index--) writer.byte(Math.floor(magnitude / 0x100 ** index) & 0xff);
}

const INTEGER_LIMIT = 1n << 63n;

function writeExact(number: ExactNumber): void {
  if (number === "zero") return writer.byte(KEY_CLASS.numericZero);
  if (number === "NaN") return writer.byte(KEY_CLASS.numericNaN);
  const isNegative = number === "-Infinity" || (number !== "Infinity" && number.isNegative);
  const start = writer.length;
  if (number === "Infinity" || number === "-Infinity") {
    writer.byte(isNegative ? KEY_CLASS.numericNegativeLarge : KEY_CLASS.numericPositiveLarge);
    writer.byte(0xff);
    writer.byte(0xff);
  } else writeMagnitudeOf(number.digits, number.exponent, isNegative);
  if (isNegative) writer.invertFrom(start + 1);
}

function writeMagnitudeOf(digits: string, exponent: number, isNegative: boolean): void {
  if (exponent <= 0) {
    writer.byte(isNegative ? KEY_CLASS.numericNegativeSmall : KEY_CLASS.numericPositiveSmall);
    const zeros = DIGIT_COUNT_MAX + exponent;
    writer.byte(zeros >>> 8);
    writer.byte(zeros & 0xff);
    return writeDigits(digits);
  }
  const integer = exponent > 19 ? INTEGER_LIMIT : BigInt(digits.slice(0, exponent).padEnd(exponent, "0"));
  if (integer >= INTEGER_LIMIT) {
    writer.byte(isNegative ? KEY_CLASS.numericNegativeLarge : KEY_CLASS.numericPositiveLarge);
    writer.byte(exponent >>> 8);
    writer.byte(exponent & 0xff);
    return writeDigits(digits);
  }
  const fraction = digits.slice(exponent);
  const shifted = (integer << 1n) | (fraction === "" ? 0n : 1n);
  const hex = shifted.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  const count = bytes.length;
  writer.byte(isNegative ? KEY_CLASS.numericNegativeSmall - count : KEY_CLASS.numericPositive1Byte - 1 + count);
  writer.copy(bytes, 0, count);
  if (fraction !== "") writeDigits(fraction);
}

/** Two digits a byte, each byte above the closing NUL. */
function writeDigits(digits: string): void {
  for (let at = 0; at < digits.length; at += 2) writer.byte(Number(digits.slice(at, at + 2).padEnd(2, "0")) + 1);
  writer.byte(0);
}
