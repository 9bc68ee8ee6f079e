import { BSON_TYPE } from "./raw-document.ts";

/** Room at the start; replies and events that need more double it. */
const INITIAL_BYTES = 512;

/** Writes BSON elements one after the other, for what is written too often to go by way of an object. */
export class DocumentWriter {
  #bytes: Buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 4;
  readonly #open: number[] = [0];

  /** A document that is written by the calls until the matching `end`. */
  begin(name: string): this {
    this.#head(BSON_TYPE.document, name, 4);
    this.#open.push(this.#length);
    this.#length += 4;
    return this;
  }

  end(): this {
    const start = this.#open.pop();
    if (start === undefined) throw new RangeError("no document is open");
    this.#reserve(1);
    this.#bytes[this.#length++] = 0;
    this.#bytes.writeInt32LE(this.#length - start, start);
    return this;
  }

  string(name: string, value: string): this {
    const size = Buffer.byteLength(value);
    this.#head(BSON_TYPE.string, name, size + 5);
    this.#length = this.#bytes.writeInt32LE(size + 1, this.#length);
    this.#length += this.#bytes.write(value, this.#length, "utf8");
    this.#bytes[this.#length++] = 0;
    return this;
  }

  int32(name: string, value: number): this {
    this.#head(BSON_TYPE.int32, name, 4);
    this.#length = this.#bytes.writeInt32LE(value, this.#length);
    return this;
  }

  int64(name: string, value: bigint): this {
    this.#head(BSON_TYPE.int64, name, 8);
    this.#length = this.#bytes.writeBigInt64LE(value, this.#length);
    return this;
  }

  double(name: string, value: number): this {
    this.#head(BSON_TYPE.double, name, 8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
    return this;
  }

  /** A date, as milliseconds since 1970. */
  date(name: string, epochMs: number): this {
    this.#head(BSON_TYPE.date, name, 8);
    this.#length = this.#bytes.writeBigInt64LE(BigInt(epochMs), this.#length);
    return this;
  }

  /** A cluster time: seconds in the upper half, increment in the lower. */
  timestamp(name: string, time: bigint): this {
    this.#head(BSON_TYPE.timestamp, name, 8);
    this.#length = this.#bytes.writeBigUInt64LE(time, this.#length);
    return this;
  }

  null(name: string): this {
    this.#head(BSON_TYPE.null, name, 0);
    return this;
  }

  binary(name: string, subtype: number, value: Buffer): this {
    this.#head(BSON_TYPE.binary, name, value.length + 5);
    this.#length = this.#bytes.writeInt32LE(value.length, this.#length);
    this.#bytes[this.#length++] = subtype;
    this.#length += value.copy(this.#bytes, this.#length);
    return this;
  }

  /** A value that is BSON already: a document's whole bytes, for one. */
  raw(type: number, name: string, value: Buffer): this {
    this.#head(type, name, value.length);
    this.#length += value.copy(this.#bytes, this.#length);
    return this;
  }

  document(name: string, value: Buffer): this {
    return this.raw(BSON_TYPE.document, name, value);
  }

  /** Elements that are BSON already: type, name, value. */
  elements(bytes: Buffer): this {
    this.#reserve(bytes.length);
    this.#length += bytes.copy(this.#bytes, this.#length);
    return this;
  }

  /** Closes the document and returns it; the writer is empty again. */
  finish(): Buffer {
    this.end();
    const document = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 4;
    this.#open.push(0);
    return document;
  }

  #head(type: number, name: string, valueBytes: number): void {
    // A name's UTF-8 is at most three bytes a UTF-16 unit.
    this.#reserve(2 + name.length * 3 + valueBytes);
    this.#bytes[this.#length++] = type;
    if (name.length < 24 && isAscii(name)) {
      for (let index = 0; index < name.length; index++) this.#bytes[this.#length++] = name.charCodeAt(index);
    } else this.#length += this.#bytes.write(name, this.#length, "utf8");
    this.#bytes[this.#length++] = 0;
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + size));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}
