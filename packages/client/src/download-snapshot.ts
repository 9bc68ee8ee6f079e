import { createHash, type Hash } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { adoptSnapshot } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";
import type { CacheFolder } from "./cache-folder.ts";
import type { HttpAnswer } from "./http-client.ts";
import type { ServerApi } from "./server-api.ts";

/** Chunks of a file: few calls a MiB. */
const CHUNK_BYTES = 1024 * 1024;

/** Whose snapshot is wanted, and where to. */
export interface SnapshotDownload {
  readonly entity: string;
  readonly version: number;
  readonly folder: CacheFolder;
  readonly signal: AbortSignal;
}

/** A snapshot's file, verified and ready to be opened as a cache file. */
export interface DownloadedSnapshot {
  readonly path: string;
  readonly logId: string;
  readonly position: number;
}

/** What is known of a download that has begun, kept beside it so that it can go on after a crash. */
interface Notes {
  readonly etag: string;
  /** As `content-encoding` says; "" for the file as it is. */
  readonly coding: string;
  /** SHA-256 of the file itself, whatever its coding. */
  readonly sha256: string;
  readonly logId: string;
  readonly position: number;
}

/**
 * Fetches a version's newest snapshot to a new file of the folder: it goes on where a broken download ended (if the
 * server still has the same one), decodes what was sent as zstd or gzip, and compares the SHA-256.
 *
 * Throws `download_damaged` where the file is not what was announced (what there is of it is removed then), and as
 * `HttpClient` says where the server can't be reached or has none (what there is of it is kept).
 */
export async function downloadSnapshot(api: ServerApi, download: SnapshotDownload): Promise<DownloadedSnapshot> {
  const { entity, version, folder } = download;
  const partial = folder.partialPath(entity, version);
  const notes = await fetchAll(api, download, partial);
  const path = folder.newPath(entity, version);
  try {
    const sha256 = await decode(partial, path, notes.coding, download.signal);
    if (sha256 !== notes.sha256) {
      throw new EmcacheError("download_damaged", `the snapshot of ${entity} has another SHA-256 than was announced`);
    }
    adoptSnapshot(path);
  } catch (error) {
    folder.remove(path);
    if (!download.signal.aborted) forget(partial);
    if (error instanceof EmcacheError || download.signal.aborted) throw error;
    throw new EmcacheError("download_damaged", `the snapshot of ${entity} can't be decoded`, { cause: error });
  }
  forget(partial);
  return { path, logId: notes.logId, position: notes.position };
}

/** Fetches what is missing of the partial file. */
async function fetchAll(
  api: ServerApi,
  { entity, version, signal }: SnapshotDownload,
  partial: string,
): Promise<Notes> {
  const begun = readNotes(partial);
  const size = begun === null ? 0 : (statSync(partial, { throwIfNoEntry: false })?.size ?? 0);
  const headers = { "accept-encoding": "zstd, gzip;q=0.5" };
  const range = begun === null || size === 0 ? {} : { range: `bytes=${size}-`, "if-range": begun.etag };
  const answer = await api.snapshot(entity, version, { ...headers, ...range }, signal);
  const notes = notesOf(answer, version);
  const isSame = begun !== null && notes.etag === begun.etag && notes.coding === begun.coding;
  if (answer.status === 416 || (answer.status === 206 && !(isSame && startOf(answer.headers) === size))) {
    answer.body.destroy();
    // Nothing is missing, or it is of another snapshot than before.
    if (answer.status === 416 && isSame && totalOf(answer.headers) === size) return begun;
    forget(partial);
    throw new EmcacheError("download_damaged", `the download of ${entity} can't go on at ${size}; it begins anew`);
  }
  const from = answer.status === 206 ? size : 0;
  if (from === 0) writeFileSync(notesPath(partial), JSON.stringify(notes));
  const file = createWriteStream(partial, { flags: from === 0 ? "w" : "a", highWaterMark: CHUNK_BYTES });
  try {
    await pipeline(answer.body, file, { signal });
  } catch (error) {
    if (signal.aborted || isFileSystemError(error)) throw error;
    throw new EmcacheError("server_unreachable", `the download of ${entity} was cut off`, { cause: error });
  }
  const expected = answer.headers["content-length"];
  if (expected !== undefined && statSync(partial).size !== from + Number(expected)) {
    throw new EmcacheError("server_unreachable", `the download of ${entity} was cut off`);
  }
  return notes;
}

function notesOf({ headers, body }: HttpAnswer, version: number): Notes {
  const text = (name: string): string => {
    const value = headers[name];
    if (typeof value === "string" && value !== "") return value;
    body.destroy();
    throw new EmcacheError("answer_invalid", `the snapshot's answer has no header ${name}`);
  };
  if (text("emcache-version") !== String(version)) {
    body.destroy();
    throw new EmcacheError("answer_invalid", `the snapshot is of version ${text("emcache-version")}, not ${version}`);
  }
  return {
    etag: text("etag"),
    coding: headers["content-encoding"] ?? "",
    sha256: text("emcache-sha256"),
    logId: text("emcache-log-id"),
    position: Number(text("emcache-position")),
  };
}

/** Writes the file that the partial one codes, and returns its SHA-256. */
async function decode(partial: string, path: string, coding: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const source = createReadStream(partial, { highWaterMark: CHUNK_BYTES });
  if (coding === "") {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      hash.update(chunk);
    }
    renameSync(partial, path);
    return hash.digest("hex");
  }
  const file = createWriteStream(path, { flags: "wx", flush: true, highWaterMark: CHUNK_BYTES });
  await pipeline(source, decoderOf(coding), hashing(hash), file, { signal });
  return hash.digest("hex");
}

function decoderOf(coding: string): Transform {
  switch (coding) {
    case "zstd":
      return createZstdDecompress({ chunkSize: CHUNK_BYTES });
    case "gzip":
      return createGunzip({ chunkSize: CHUNK_BYTES });
    default:
      throw new EmcacheError("answer_invalid", `the snapshot was sent as ${coding}, which wasn't asked for`);
  }
}

function hashing(hash: Hash): Transform {
  return new Transform({
    highWaterMark: CHUNK_BYTES,
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}

function startOf(headers: IncomingHttpHeaders): number | null {
  const match = /^bytes (\d+)-/.exec(headers["content-range"] ?? "");
  return match === null ? null : Number(match[1]);
}

function totalOf(headers: IncomingHttpHeaders): number | null {
  const match = /\/(\d+)$/.exec(headers["content-range"] ?? "");
  return match === null ? null : Number(match[1]);
}

function notesPath(partial: string): string {
  return `${partial}.json`;
}

function readNotes(partial: string): Notes | null {
  try {
    return JSON.parse(readFileSync(notesPath(partial), "utf8")) as Notes;
  } catch {
    // None, or written half: the download begins anew.
    return null;
  }
}

function forget(partial: string): void {
  rmSync(partial, { force: true });
  rmSync(notesPath(partial), { force: true });
}

function isFileSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && ["write", "open", "fsync"].includes(String(error.syscall));
}
