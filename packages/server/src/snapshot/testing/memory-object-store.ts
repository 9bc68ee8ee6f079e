import { EmcacheError } from "@emcache/protocol";
import { readFileSync, writeFileSync } from "node:fs";
import type { ObjectStore, PendingUpload, StoredObject } from "../object-store.ts";

/** Object storage in memory; `isAway` is one that can't be reached. */
export class MemoryObjectStore implements ObjectStore {
  readonly prefix = "p/";
  presigns = false;
  isAway = false;
  readonly objects = new Map<string, { readonly bytes: Buffer; modifiedAtMs: number }>();
  uploads: PendingUpload[] = [];
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  async putFile(key: string, path: string): Promise<void> {
    this.put(key, readFileSync(path));
  }

  async putText(key: string, text: string): Promise<void> {
    this.put(key, Buffer.from(text));
  }

  async getFile(key: string, path: string): Promise<void> {
    this.#require();
    const found = this.objects.get(key);
    if (found === undefined) throw new EmcacheError("object_store_unavailable", `there is no ${key}`);
    writeFileSync(path, found.bytes);
  }

  async presignedUrl(key: string): Promise<string> {
    return `https://storage/${key}?signed`;
  }

  async list(prefix: string): Promise<StoredObject[]> {
    this.#require();
    return [...this.objects].flatMap(([key, { modifiedAtMs }]) =>
      key.startsWith(prefix) ? [{ key, modifiedAtMs }] : [],
    );
  }

  async remove(keys: readonly string[]): Promise<void> {
    this.#require();
    for (const key of keys) this.objects.delete(key);
  }

  async pendingUploads(prefix: string): Promise<PendingUpload[]> {
    return this.uploads.filter(({ key }) => key.startsWith(prefix));
  }

  async abortUpload({ uploadId }: PendingUpload): Promise<void> {
    this.uploads = this.uploads.filter((upload) => upload.uploadId !== uploadId);
  }

  /** As if it had been stored now. */
  put(key: string, bytes: Buffer): void {
    this.#require();
    this.objects.set(key, { bytes, modifiedAtMs: this.#nowMs() });
  }

  #require(): void {
    if (this.isAway) throw new EmcacheError("object_store_unavailable", "it is away");
  }
}
