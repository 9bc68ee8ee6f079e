import { deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";

/** Compressors that this server offers, by their id in OP_COMPRESSED (MongoDB's wire protocol, "OP_COMPRESSED"). */
const COMPRESSOR_NAME: Readonly<Record<number, string>> = { 0: "noop", 2: "zlib", 3: "zstd" };

/** Messages are at most 48 MB; a compressed one that claims more is refused. */
const MESSAGE_BYTES_MAX = 48_000_000 + 16_384;

/** Names for `hello.compression`, of those that the client asked for, in its order. */
export function offeredCompressors(asked: unknown): string[] {
  if (!Array.isArray(asked)) return [];
  return asked.filter((name): name is string => name === "zlib" || name === "zstd");
}

/** @throws RangeError for a compressor that was not offered, or for a message that is too large */
export function decompress(compressorId: number, bytes: Buffer, uncompressedBytes: number): Buffer {
  if (uncompressedBytes > MESSAGE_BYTES_MAX) throw new RangeError("a compressed message is too large");
  const limit = { maxOutputLength: Math.max(uncompressedBytes, 1) };
  switch (COMPRESSOR_NAME[compressorId]) {
    case "noop":
      return bytes;
    case "zlib":
      return inflateSync(bytes, limit);
    case "zstd":
      return zstdDecompressSync(bytes, limit);
    default:
      throw new RangeError(`compressor ${compressorId} was not offered`);
  }
}

/** Compresses with what the client's message used. */
export function compress(compressorId: number, bytes: Buffer): Buffer {
  switch (COMPRESSOR_NAME[compressorId]) {
    case "zlib":
      return deflateSync(bytes, { level: 1 });
    case "zstd":
      return zstdCompressSync(bytes);
    default:
      return bytes;
  }
}
