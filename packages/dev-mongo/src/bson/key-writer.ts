const HEX_DIGITS = Buffer.from("0123456789ABCDEF", "latin1");

/** Collects the bytes of a key. */
export class KeyWriter {
  #bytes: Buffer = Buffer.allocUnsafe(1024);
  length = 0;

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = value;
  }

  copy(source: Buffer, start: number, end: number): void {
    if (this.length + end - start > this.#bytes.length) this.#grow(end - start);
    this.length += source.copy(this.#bytes, this.length, start, end);
  }

  bigEndian64(value: bigint): void {
    if (this.length + 8 > this.#bytes.length) this.#grow(8);
    this.length = this.#bytes.writeBigUInt64BE(value, this.length);
  }

  invertFrom(start: number): void {
    for (let at = start; at < this.length; at++) this.#bytes[at] = ~(this.#bytes[at] ?? 0) & 0xff;
  }

  /** Writes the bytes as upper-case hex digits and forgets them; returns where it ended. */
  takeHex(target: Buffer, at: number): number {
    const end = at + this.length * 2;
    for (let index = 0, to = at; index < this.length; index++) {
      const byte = this.#bytes[index] ?? 0;
      target[to++] = HEX_DIGITS[byte >>> 4] ?? 0;
      target[to++] = HEX_DIGITS[byte & 15] ?? 0;
    }
    this.length = 0;
    return end;
  }

  take(): string {
    const key = this.#bytes.toString("latin1", 0, this.length);
    this.length = 0;
    return key;
  }

  #grow(size: number): void {
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.length + size));
    this.#bytes.copy(larger, 0, 0, this.length);
    this.#bytes = larger;
  }
}
