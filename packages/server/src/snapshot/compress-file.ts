import { createReadStream, createWriteStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { constants, createGzip, createZstdCompress } from "node:zlib";
import { type FileSums, SumsBuilder } from "./file-sums.ts";

/** 1 MiB: fewer turns between threads than with the default of 64 KiB. */
const CHUNK_BYTES = 1024 * 1024;

/**
 * Compresses a file beside itself; the target appears when it is whole and on disk. The fastest level of both: a client
 * waits for the first bytes, and level 1 leaves little on the table for rows of JSON and text.
 */
export async function compressFile(
  path: string,
  targetPath: string,
  coding: "gzip" | "zstd",
  signal: AbortSignal,
): Promise<FileSums> {
  const building = `${targetPath}.building`;
  const compressor =
    coding === "gzip"
      ? createGzip({ level: 1, chunkSize: CHUNK_BYTES })
      : createZstdCompress({
          chunkSize: CHUNK_BYTES,
          params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 },
        });
  const sums = new SumsBuilder();
  try {
    const source = createReadStream(path, { highWaterMark: CHUNK_BYTES });
    const summed = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        sums.update(chunk);
        yield chunk;
      }
    };
    await pipeline(source, compressor, summed, createWriteStream(building), { signal });
    await flush(building);
    await rename(building, targetPath);
    return sums.finish();
  } catch (error) {
    await rm(building, { force: true });
    throw error;
  }
}

async function flush(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
