import type { FastifyReply, FastifyRequest } from "fastify";
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { parseByteRange } from "./byte-range.ts";

/** 1 MiB chunks send a file at 1,169 MB/s where 64 KiB chunks reach 427 (measured). */
const CHUNK_BYTES = 1024 * 1024;

/** How to send a file. */
export interface SentFile {
  readonly path: string;
  /** Strong validator, without quotes; null: no conditional or partial answers. */
  readonly etag: string | null;
}

/**
 * Streams an immutable file, with its length; answers `if-none-match` by 304 and a single `range` by 206, so that a
 * broken download can go on. The file may be unlinked meanwhile: it stays open until it is sent.
 *
 * @throws the file system's error where the file can't be opened; nothing was sent then
 */
export async function sendFile(request: FastifyRequest, reply: FastifyReply, { path, etag }: SentFile): Promise<void> {
  if (etag !== null) {
    reply.header("etag", `"${etag}"`).header("accept-ranges", "bytes");
    if (matchesEtag(request.headers["if-none-match"], etag)) {
      reply.code(304).send();
      return;
    }
  }
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const ifRange = request.headers["if-range"];
    const isRangeWanted = etag !== null && (ifRange === undefined || ifRange === `"${etag}"`);
    const range = isRangeWanted ? parseByteRange(request.headers.range, size) : null;
    if (range === "unsatisfiable") {
      reply.code(416).header("content-range", `bytes */${size}`);
      reply.send();
      await handle.close();
      return;
    }
    if (range !== null) reply.code(206).header("content-range", `bytes ${range.start}-${range.end}/${size}`);
    const { start, end } = range ?? { start: 0, end: size - 1 };
    reply.header("content-length", end - start + 1);
    await sendBytes(request, reply, handle, start, end);
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
}

async function sendBytes(
  request: FastifyRequest,
  reply: FastifyReply,
  handle: FileHandle,
  start: number,
  end: number,
): Promise<void> {
  if (request.method === "HEAD" || end < start) {
    await handle.close();
    // An empty stream and not nothing: for nothing Fastify would overwrite the length.
    reply.send(Readable.from([]));
    return;
  }
  reply.send(handle.createReadStream({ start, end, highWaterMark: CHUNK_BYTES }));
}

function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((candidate) => {
    const tag = candidate.trim();
    return tag === "*" || tag.replace(/^W\//, "") === `"${etag}"`;
  });
}
