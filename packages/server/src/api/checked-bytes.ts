import { EmcacheError } from "@emcache/protocol";
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { SUMMED_CHUNK_BYTES } from "../snapshot/file-sums.ts";

/**
 * Reads a part of a stored file, each chunk compared with its checksum before any of it is given out: a damaged file
 * ends the answer before it is complete, in a range too. Closes the file.
 *
 * @param start first byte, `end` the last one
 * @throws EmcacheError `snapshot_damaged`
 */
export async function* checkedBytes(
  file: FileHandle,
  { start, end, chunkSums, path }: { start: number; end: number; chunkSums: Uint32Array; path: string },
): AsyncGenerator<Buffer> {
  try {
    for (let chunk = Math.floor(start / SUMMED_CHUNK_BYTES); chunk * SUMMED_CHUNK_BYTES <= end; chunk += 1) {
      const first = chunk * SUMMED_CHUNK_BYTES;
      const bytes = await readChunk(file, first);
      if (crc32(bytes) !== chunkSums[chunk]) {
        throw new EmcacheError("snapshot_damaged", `${path} is damaged between ${first} and ${first + bytes.length}`);
      }
      yield bytes.subarray(Math.max(start - first, 0), Math.min(end - first + 1, bytes.length));
    }
  } finally {
    await file.close();
  }
}

async function readChunk(file: FileHandle, position: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(SUMMED_CHUNK_BYTES);
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
