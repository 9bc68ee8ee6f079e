import { BSON_TYPE } from "./raw-document.ts";

/** A value of eight bytes, to be copied; every platform that Node runs on is little-endian, as BSON is. */
const TIMES = new BigUint64Array(1);
const TIME_BYTES = new Uint8Array(TIMES.buffer);

/** Before a template's end: the time, a type byte, "wallTime" and its NUL, the wall time. */
const CLUSTER_TIME_FROM_END = 8 + 10 + 8;

/** Room at the start of a writer of one document; those that need more double it. */
const SINGLE_BYTES = 512;

/**
 * Writes BSON elements one after the other, for what is written too often to go by way of an object. The documents of
 * a writer are views of shared slabs: with a large `slabBytes`, many small ones cost one allocation.
 */
export class DocumentWriter {
  readonly #slabBytes: number;
  #bytes: Buffer;
  /** Where the present document begins. */
  #start = 0;
  #length = 4;
  readonly #open: number[] = [0];

  constructor(slabBytes = SINGLE_BYTES) {
    this.#slabBytes = slabBytes;
    this.#bytes = Buffer.allocUnsafeSlow(slabBytes);
  }

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
  elements(bytes: Buffer, start = 0, end = bytes.length): this {
    this.#reserve(end - start);
    this.#length += bytes.copy(this.#bytes, this.#length, start, end);
    return this;
  }

  /** Elements that end with `clusterTime` and `wallTime`, whose values are put in. */
  times(template: Buffer, clusterTime: bigint, wallTimeMs: number): this {
    this.elements(template);
    TIMES[0] = clusterTime;
    this.#bytes.set(TIME_BYTES, this.#length - CLUSTER_TIME_FROM_END);
    TIMES[0] = BigInt(wallTimeMs);
    this.#bytes.set(TIME_BYTES, this.#length - 8);
    return this;
  }

  /** A string of ASCII characters that `write` puts into the buffer; it returns where they end. */
  asciiBy(name: string, bytesMax: number, write: (target: Buffer, at: number) => number): this {
    this.#head(BSON_TYPE.string, name, bytesMax + 5);
    const start = this.#length + 4;
    const end = write(this.#bytes, start);
    this.#bytes.writeInt32LE(end - start + 1, this.#length);
    this.#bytes[end] = 0;
    this.#length = end + 1;
    return this;
  }

  /** Closes the document and returns it; the writer is ready for the next one. */
  finish(): Buffer {
    this.end();
    const document = this.#bytes.subarray(this.#start, this.#length);
    this.#start = this.#length;
    this.#reserve(4);
    this.#length = this.#start + 4;
    this.#open.push(this.#start);
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
    const used = this.#length - this.#start;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#slabBytes, (used + size) * 2));
    this.#bytes.copy(larger, 0, this.#start, this.#length);
    this.#bytes = larger;
    for (let index = 0; index < this.#open.length; index++) this.#open[index] = (this.#open[index] ?? 0) - this.#start;
    this.#length = used;
    this.#start = 0;
  }
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}
