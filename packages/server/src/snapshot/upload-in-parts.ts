import type * as S3 from "@aws-sdk/client-s3";
import type { CompletedPart, S3Client } from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** Parts on their way at once: one connection rarely fills the line, and each holds its part in memory. */
const CONCURRENT_PARTS = 3;

/** What an upload in parts works with. */
export interface PartsUpload {
  readonly sdk: typeof S3;
  readonly client: S3Client;
  /** Bucket, key and what is stored with the object. */
  readonly stored: { readonly Bucket: string; readonly Key: string };
  readonly file: FileHandle;
  readonly sizeBytes: number;
  readonly partBytes: number;
  readonly signal: AbortSignal;
}

/** As S3's checksum headers want it. */
export function sha256Base64(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("base64");
}

/**
 * Uploads a file in parts, each checked by its SHA-256. Where an upload of the same key was begun and not ended (a
 * crash), it goes on: parts that are there with the right checksum are not sent again. On failure the upload is left
 * as it is, for the next attempt.
 */
export async function uploadInParts(upload: PartsUpload): Promise<void> {
  const { sdk, client, stored, sizeBytes, partBytes, signal } = upload;
  const target = { Bucket: stored.Bucket, Key: stored.Key };
  const uploadId = (await pendingUploadId(upload)) ?? (await begin(upload));
  const present = await presentParts(upload, uploadId);
  const count = Math.ceil(sizeBytes / partBytes);
  const parts: CompletedPart[] = [];
  let next = 1;
  const sendParts = async (): Promise<void> => {
    for (let number = next++; number <= count; number = next++) {
      signal.throwIfAborted();
      const body = await readPart(upload, number);
      const checksum = sha256Base64(body);
      const before = present.get(number);
      if (before !== undefined && before.ChecksumSHA256 === checksum) {
        parts[number - 1] = before;
        continue;
      }
      const command = new sdk.UploadPartCommand({
        ...target,
        UploadId: uploadId,
        PartNumber: number,
        Body: body,
        ChecksumSHA256: checksum,
      });
      const { ETag } = await client.send(command, { abortSignal: signal });
      parts[number - 1] = { PartNumber: number, ChecksumSHA256: checksum, ...(ETag === undefined ? {} : { ETag }) };
    }
  };
  const senders = await Promise.allSettled(Array.from({ length: CONCURRENT_PARTS }, sendParts));
  const failed = senders.find((sender) => sender.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  const command = new sdk.CompleteMultipartUploadCommand({
    ...target,
    UploadId: uploadId,
    MultipartUpload: { Parts: parts },
  });
  await client.send(command, { abortSignal: signal });
}

async function begin({ sdk, client, stored, signal }: PartsUpload): Promise<string> {
  const command = new sdk.CreateMultipartUploadCommand({ ...stored, ChecksumAlgorithm: "SHA256" });
  const { UploadId } = await client.send(command, { abortSignal: signal });
  if (UploadId === undefined) throw new TypeError("the server began an upload without an id");
  return UploadId;
}

/** The upload of this key that was begun last and not ended. */
async function pendingUploadId({ sdk, client, stored, signal }: PartsUpload): Promise<string | null> {
  const command = new sdk.ListMultipartUploadsCommand({ Bucket: stored.Bucket, Prefix: stored.Key });
  const { Uploads } = await client.send(command, { abortSignal: signal });
  return Uploads?.findLast(({ Key }) => Key === stored.Key)?.UploadId ?? null;
}

/** What is there of an upload, by part number. Parts of another size than asked for now are not taken. */
async function presentParts(upload: PartsUpload, uploadId: string): Promise<Map<number, CompletedPart>> {
  const { sdk, client, stored, signal } = upload;
  const found = new Map<number, CompletedPart>();
  let marker: string | undefined;
  do {
    const command = new sdk.ListPartsCommand({
      Bucket: stored.Bucket,
      Key: stored.Key,
      UploadId: uploadId,
      ...(marker === undefined ? {} : { PartNumberMarker: marker }),
    });
    const page = await client.send(command, { abortSignal: signal });
    for (const { PartNumber, ETag, ChecksumSHA256 } of page.Parts ?? []) {
      if (PartNumber === undefined || ETag === undefined || ChecksumSHA256 === undefined) continue;
      found.set(PartNumber, { PartNumber, ETag, ChecksumSHA256 });
    }
    marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
  } while (marker !== undefined);
  return found;
}

async function readPart({ file, sizeBytes, partBytes }: PartsUpload, number: number): Promise<Buffer> {
  const start = (number - 1) * partBytes;
  const buffer = Buffer.allocUnsafe(Math.min(partBytes, sizeBytes - start));
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, start + filled);
    if (bytesRead === 0) throw new Error("the file became shorter while it was uploaded");
    filled += bytesRead;
  }
  return buffer;
}
