/** A BSON element by hand: type byte, name (text or bytes), value bytes. For what the bson library can't write. */
export type RawElement = readonly [type: number, name: string | Uint8Array, value: Uint8Array];

/** Bytes of a BSON document made of raw elements, repeated and odd names included. */
export function rawDocument(elements: readonly RawElement[]): Buffer {
  const body = Buffer.concat(
    elements.flatMap(([type, name, value]) => [
      Buffer.from([type]),
      Buffer.from(name as string),
      Buffer.from([0]),
      value,
    ]),
  );
  return Buffer.concat([int32Bytes(body.length + 5), body, Buffer.from([0])]);
}

/** Little-endian signed 32-bit integer. */
export function int32Bytes(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

/** Little-endian signed 64-bit integer. */
export function int64Bytes(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return bytes;
}

/** A BSON string value: length, bytes, NUL. */
export function stringBytes(text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text as string);
  return Buffer.concat([int32Bytes(bytes.length + 1), bytes, Buffer.from([0])]);
}
