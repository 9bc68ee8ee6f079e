import type * as S3 from "@aws-sdk/client-s3";
import type { GetObjectCommandInput, S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { EmcacheError } from "@emcache/protocol";
import { createWriteStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf } from "../runtime/error-message.ts";
import type { ObjectFacts, ObjectStore, PendingUpload, StoredObject } from "./object-store.ts";
import { sha256Base64, uploadInParts } from "./upload-in-parts.ts";

/** Where the bucket is and how it is used; see `snapshot.store.*` of the configuration. */
export interface S3ObjectStoreOptions {
  readonly bucket: string;
  readonly endpoint: string | null;
  readonly prefix: string;
  readonly region: string;
  /** Null: as the SDK finds them. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null;
  readonly isPathStyle: boolean;
  readonly presigns: boolean;
  readonly presignExpiryS: number;
  /** Size of an upload's parts; files up to it are sent at once. Default 16 MiB: three in flight are 48 MiB of memory. */
  readonly partBytes?: number;
}

type Sdk = typeof S3;

const PART_BYTES = 16 * 1024 * 1024;
/** S3 takes 10,000 parts. */
const PARTS_MAX = 9_000;
/** What S3 deletes in one request. */
const REMOVED_AT_ONCE_MAX = 1_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** A connection on which nothing moves for so long is given up. */
const SILENT_TIMEOUT_MS = 60_000;

/** An S3-compatible object storage. The SDK is loaded when it is first used: it costs 0.3 s and 33 MiB (measured). */
export class S3ObjectStore implements ObjectStore {
  readonly presigns: boolean;
  readonly prefix: string;
  readonly #options: S3ObjectStoreOptions;
  #connected: Promise<{ readonly sdk: Sdk; readonly client: S3Client }> | null = null;

  constructor(options: S3ObjectStoreOptions) {
    this.#options = options;
    this.presigns = options.presigns;
    this.prefix = options.prefix;
  }

  async putFile(key: string, path: string, facts: ObjectFacts, signal: AbortSignal): Promise<void> {
    await this.#use(signal, async (client, sdk) => {
      const { size } = await stat(path);
      const target = { Bucket: this.#options.bucket, Key: key };
      const stored = { ...target, ...storedFacts(facts) };
      const partBytes = Math.max(this.#options.partBytes ?? PART_BYTES, Math.ceil(size / PARTS_MAX));
      if (size > partBytes) {
        const file = await open(path, "r");
        try {
          await uploadInParts({ sdk, client, stored, file, sizeBytes: size, partBytes, signal });
        } finally {
          await file.close();
        }
        return;
      }
      const body = await readFile(path, { signal });
      const command = new sdk.PutObjectCommand({ ...stored, Body: body, ChecksumSHA256: sha256Base64(body) });
      await client.send(command, { abortSignal: signal });
    });
  }

  async putText(key: string, text: string, signal: AbortSignal): Promise<void> {
    await this.#use(signal, async (client, sdk) => {
      const body = Buffer.from(text);
      const { bucket } = this.#options;
      const facts = { Bucket: bucket, Key: key, ContentType: "application/json", ChecksumSHA256: sha256Base64(body) };
      await client.send(new sdk.PutObjectCommand({ ...facts, Body: body }), { abortSignal: signal });
    });
  }

  async getFile(key: string, path: string, signal: AbortSignal): Promise<void> {
    await this.#use(signal, async (client, sdk) => {
      const command = new sdk.GetObjectCommand({ Bucket: this.#options.bucket, Key: key });
      const { Body } = await client.send(command, { abortSignal: signal });
      if (Body === undefined) throw new TypeError(`${key} came without a body`);
      await pipeline(Body as Readable, createWriteStream(path, { flags: "wx" }), { signal });
    });
  }

  async presignedUrl(key: string, facts: ObjectFacts, signal: AbortSignal): Promise<string> {
    return this.#use(signal, async (client, sdk) => {
      const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner");
      const input: GetObjectCommandInput = {
        Bucket: this.#options.bucket,
        Key: key,
        ResponseContentDisposition: dispositionOf(facts),
      };
      const command = new sdk.GetObjectCommand(input);
      return getSignedUrl(client, command, { expiresIn: Math.ceil(this.#options.presignExpiryS) });
    });
  }

  async list(prefix: string, signal: AbortSignal): Promise<StoredObject[]> {
    return this.#use(signal, async (client, sdk) => {
      const found: StoredObject[] = [];
      let token: string | undefined;
      do {
        const more = token === undefined ? {} : { ContinuationToken: token };
        const command = new sdk.ListObjectsV2Command({ Bucket: this.#options.bucket, Prefix: prefix, ...more });
        const page = await client.send(command, { abortSignal: signal });
        for (const { Key, LastModified } of page.Contents ?? []) {
          if (Key !== undefined) found.push({ key: Key, modifiedAtMs: LastModified?.getTime() ?? 0 });
        }
        token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      } while (token !== undefined);
      return found;
    });
  }

  async remove(keys: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#use(signal, async (client, sdk) => {
      for (let first = 0; first < keys.length; first += REMOVED_AT_ONCE_MAX) {
        const objects = keys.slice(first, first + REMOVED_AT_ONCE_MAX).map((key) => ({ Key: key }));
        const command = new sdk.DeleteObjectsCommand({
          Bucket: this.#options.bucket,
          Delete: { Objects: objects, Quiet: true },
        });
        const { Errors } = await client.send(command, { abortSignal: signal });
        const failed = Errors?.[0];
        if (failed !== undefined) throw new Error(`${failed.Key} was not removed: ${failed.Message ?? failed.Code}`);
      }
    });
  }

  async pendingUploads(prefix: string, signal: AbortSignal): Promise<PendingUpload[]> {
    return this.#use(signal, async (client, sdk) => {
      const command = new sdk.ListMultipartUploadsCommand({ Bucket: this.#options.bucket, Prefix: prefix });
      const { Uploads } = await client.send(command, { abortSignal: signal });
      return (Uploads ?? []).flatMap(({ Key, UploadId, Initiated }) =>
        Key === undefined || UploadId === undefined
          ? []
          : [{ key: Key, uploadId: UploadId, startedAtMs: Initiated?.getTime() ?? 0 }],
      );
    });
  }

  async abortUpload({ key, uploadId }: PendingUpload, signal: AbortSignal): Promise<void> {
    await this.#use(signal, async (client, sdk) => {
      const command = new sdk.AbortMultipartUploadCommand({
        Bucket: this.#options.bucket,
        Key: key,
        UploadId: uploadId,
      });
      await client.send(command, { abortSignal: signal });
    });
  }

  /** Runs requests and gives their failure the form of the catalogue. */
  async #use<T>(signal: AbortSignal, work: (client: S3Client, sdk: Sdk) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    try {
      this.#connected ??= connect(this.#options);
      const { client, sdk } = await this.#connected;
      return await work(client, sdk);
    } catch (error) {
      signal.throwIfAborted();
      const place = `the bucket ${this.#options.bucket}${this.#options.endpoint === null ? "" : ` of ${this.#options.endpoint}`}`;
      throw new EmcacheError("object_store_unavailable", `${place}: ${messageOf(error)}`, { cause: error });
    }
  }
}

async function connect(options: S3ObjectStoreOptions): Promise<{ sdk: Sdk; client: S3Client }> {
  const sdk = await import("@aws-sdk/client-s3");
  const config: S3ClientConfig = {
    region: options.region,
    forcePathStyle: options.isPathStyle,
    // We send SHA-256 with every object and part, which S3 checks; other servers don't know the SDK's own default.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SILENT_TIMEOUT_MS },
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === null ? {} : { credentials: options.credentials }),
  };
  return { sdk, client: new sdk.S3Client(config) };
}

function storedFacts(facts: ObjectFacts): Record<string, unknown> {
  return {
    ContentType: facts.contentType,
    ContentDisposition: dispositionOf(facts),
    Metadata: { ...facts.metadata },
    ...(facts.contentEncoding === null ? {} : { ContentEncoding: facts.contentEncoding }),
  };
}

function dispositionOf({ fileName }: ObjectFacts): string {
  return `attachment; filename="${fileName}"`;
}
