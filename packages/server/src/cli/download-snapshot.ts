import { EmcacheError } from "@emcache/protocol";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf } from "../runtime/error-message.ts";
import { type ServerPlace, serverRequest } from "./server-request.ts";

/** What was written. */
export interface Downloaded {
  readonly rows: number;
  readonly position: number;
  readonly version: number;
  readonly bytes: number;
}

/**
 * Downloads a snapshot's file. It appears under its name once it is whole and its SHA-256 is what the server said.
 *
 * @param path of the API, such as `/api/snapshots/users?position=42`
 * @throws EmcacheError `download_damaged`, and as the server told it
 */
export async function downloadSnapshot(
  server: ServerPlace,
  path: string,
  out: string,
  isForced: boolean,
): Promise<Downloaded> {
  if (!isForced && existsSync(out)) {
    throw new EmcacheError("bad_request", `${out} exists already`, { hint: "Name another file, or give --force." });
  }
  const first = await serverRequest(server, "GET", path);
  const response = await bodyOf(server, first);
  const partial = `${out}.partial`;
  const hash = createHash("sha256");
  let bytes = 0;
  const summed = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  };
  try {
    // The bytes as they are in the file: a compressed answer was decoded on its way.
    await pipeline(Readable.fromWeb(response), summed, createWriteStream(partial)).catch((error: unknown) => {
      throw new EmcacheError("download_damaged", `The download of ${out} was cut off: ${messageOf(error)}`, {
        cause: error,
      });
    });
    const expected = first.headers.get("emcache-sha256");
    if (hash.digest("hex") !== expected) {
      throw new EmcacheError("download_damaged", `${out} is not what the server announced (SHA-256 ${expected})`);
    }
    await rename(partial, out);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  const numberOf = (name: string): number => Number(first.headers.get(name));
  return {
    rows: numberOf("emcache-rows"),
    position: numberOf("emcache-position"),
    version: numberOf("emcache-version"),
    bytes,
  };
}

/** Follows one redirect: to another EMCache process (307), which may want the token, or to object storage. */
async function bodyOf(server: ServerPlace, first: Response): Promise<NonNullable<Response["body"]>> {
  const location = first.headers.get("location");
  const { body } =
    location === null
      ? first
      : first.status === 307
        ? await serverRequest({ ...server, url: new URL(location).origin }, "GET", location)
        : await fetch(location);
  if (body === null) throw new EmcacheError("answer_invalid", "The server sent no file");
  return body;
}
