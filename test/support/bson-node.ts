/**
 * A BSON reader of the tests' own (https://bsonspec.org/spec.html): the fields in the document's order, every type
 * told apart, and nothing shared with the pipeline that is judged by it, not even the library.
 */

/** One BSON value. */
export type BsonNode =
  | { readonly kind: "double"; readonly value: number }
  | { readonly kind: "string" | "code" | "symbol"; readonly value: string }
  | { readonly kind: "document"; readonly fields: readonly (readonly [name: string, value: BsonNode])[] }
  | { readonly kind: "array"; readonly items: readonly BsonNode[] }
  | { readonly kind: "binary"; readonly subType: number; readonly bytes: Buffer }
  | { readonly kind: "objectId"; readonly hex: string }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "date"; readonly ms: bigint }
  | { readonly kind: "regex"; readonly pattern: string; readonly options: string }
  | { readonly kind: "dbPointer"; readonly namespace: string; readonly hex: string }
  | { readonly kind: "codeWithScope"; readonly value: string; readonly scope: BsonNode }
  | { readonly kind: "int32" | "int64"; readonly value: bigint }
  | { readonly kind: "timestamp"; readonly seconds: number; readonly increment: number }
  | { readonly kind: "decimal128"; readonly text: string }
  | { readonly kind: "null" | "undefined" | "minKey" | "maxKey" };

export type BsonDocument = Extract<BsonNode, { kind: "document" }>;

/** Reads a whole document. */
export function readBson(bytes: Uint8Array): BsonDocument {
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return { kind: "document", fields: reader.fields() };
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  fields(): [string, BsonNode][] {
    const end = this.#at + this.#bytes.readInt32LE(this.#at);
    this.#at += 4;
    const fields: [string, BsonNode][] = [];
    while (this.#at < end - 1) {
      const type = this.#bytes.readUInt8(this.#at++);
      const name = this.#cstring();
      fields.push([name, this.#value(type)]);
    }
    this.#at = end;
    return fields;
  }

  #value(type: number): BsonNode {
    switch (type) {
      case 0x01:
        return { kind: "double", value: this.#take(8).readDoubleLE() };
      case 0x02:
        return { kind: "string", value: this.#string() };
      case 0x03:
        return { kind: "document", fields: this.fields() };
      case 0x04:
        return { kind: "array", items: this.fields().map(([, item]) => item) };
      case 0x05:
        return this.#binary();
      case 0x06:
        return { kind: "undefined" };
      case 0x07:
        return { kind: "objectId", hex: this.#take(12).toString("hex") };
      case 0x08:
        return { kind: "bool", value: this.#take(1)[0] !== 0 };
      case 0x09:
        return { kind: "date", ms: this.#take(8).readBigInt64LE() };
      case 0x0a:
        return { kind: "null" };
      case 0x0b:
        return { kind: "regex", pattern: this.#cstring(), options: this.#cstring() };
      case 0x0c:
        return { kind: "dbPointer", namespace: this.#string(), hex: this.#take(12).toString("hex") };
      case 0x0d:
        return { kind: "code", value: this.#string() };
      case 0x0e:
        return { kind: "symbol", value: this.#string() };
      case 0x0f:
        this.#take(4);
        return { kind: "codeWithScope", value: this.#string(), scope: { kind: "document", fields: this.fields() } };
      case 0x10:
        return { kind: "int32", value: BigInt(this.#take(4).readInt32LE()) };
      case 0x11: {
        const bytes = this.#take(8);
        return { kind: "timestamp", increment: bytes.readUInt32LE(), seconds: bytes.readUInt32LE(4) };
      }
      case 0x12:
        return { kind: "int64", value: this.#take(8).readBigInt64LE() };
      case 0x13:
        return { kind: "decimal128", text: decimalText(this.#take(16)) };
      case 0x7f:
        return { kind: "maxKey" };
      case 0xff:
        return { kind: "minKey" };
      default:
        throw new Error(`BSON type 0x${type.toString(16)} at ${this.#at}`);
    }
  }

  #take(count: number): Buffer {
    const bytes = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }

  #cstring(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    const text = this.#bytes.toString("utf8", this.#at, end);
    this.#at = end + 1;
    return text;
  }

  #string(): string {
    const length = this.#take(4).readInt32LE();
    return this.#take(length).toString("utf8", 0, length - 1);
  }

  #binary(): BsonNode {
    const length = this.#take(4).readInt32LE();
    const subType = this.#take(1).readUInt8();
    const bytes = this.#take(length);
    // The old subtype 2 repeats the length inside.
    return { kind: "binary", subType, bytes: subType === 2 ? bytes.subarray(4) : bytes };
  }
}

/** A Decimal128 as its specification prints it (to-scientific-string of General Decimal Arithmetic). */
function decimalText(bytes: Buffer): string {
  const low = bytes.readBigUInt64LE(0);
  const high = bytes.readBigUInt64LE(8);
  const sign = high >> 63n === 1n ? "-" : "";
  const combination = (high >> 58n) & 0x1fn;
  if (combination === 0x1fn) return "NaN";
  if (combination === 0x1en) return `${sign}Infinity`;
  // The form with two leading ones holds significands beyond 34 digits, which count as zero.
  const isLarge = combination >> 3n === 3n;
  const biased = isLarge ? (high >> 47n) & 0x3fffn : (high >> 49n) & 0x3fffn;
  const significand = isLarge ? 0n : ((high & 0x1_ffff_ffff_ffffn) << 64n) | low;
  const digits = (significand >= 10n ** 34n ? 0n : significand).toString();
  const exponent = Number(biased) - 6176;
  const adjusted = exponent + digits.length - 1;
  if (exponent > 0 || adjusted < -6) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    return `${sign}${digits[0]}${fraction}E${adjusted < 0 ? "-" : "+"}${Math.abs(adjusted)}`;
  }
  if (exponent === 0) return `${sign}${digits}`;
  const padded = digits.padStart(1 - exponent, "0");
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}
