import { EmcacheError, type SnapshotManifest } from "@emcache/protocol";
import type { ObjectShelf } from "./object-shelf.ts";
import type { RequestFiles } from "./request-files.ts";
import type { FormCoding } from "./snapshot-directory.ts";
import type { SnapshotRegister } from "./snapshot-register.ts";
import type { ShelvedFile, SnapshotShelf } from "./snapshot-shelf.ts";
import type { ListedRecord } from "./snapshot-store-port.ts";

/** Which snapshot is wanted: the newest of a version, or one by its id. */
export interface SnapshotQuery {
  readonly entity: string;
  readonly version: number;
  /** Null: the newest. */
  readonly id: string | null;
}

/** Where a snapshot is: its file on this machine, or where to ask for it. */
export type FoundSnapshot =
  | { readonly kind: "file"; readonly file: ShelvedFile }
  | {
      readonly kind: "elsewhere";
      /** Null: only the other process knows. */
      readonly manifest: SnapshotManifest | null;
      /** URL of the bytes themselves in object storage, or of the holder's own answer. */
      readonly url: string;
      readonly isObject: boolean;
    };

/** What it looks through. */
export interface SnapshotFinderParts {
  readonly shelf: SnapshotShelf;
  readonly register: SnapshotRegister;
  /** Null: there is no object storage. */
  readonly objects: ObjectShelf | null;
  readonly files: RequestFiles;
}

/** Finds snapshots on this machine, in object storage and on other processes, in this order. */
export class SnapshotFinder {
  readonly #parts: SnapshotFinderParts;
  /** Keys in object storage of this machine's own snapshots, by id. */
  readonly #storedKeys = new Map<string, string>();

  constructor(parts: SnapshotFinderParts) {
    this.#parts = parts;
  }

  /** Which of this machine's snapshots lie in object storage too. */
  setStoredKeys(keys: ReadonlyMap<string, string>): void {
    this.#storedKeys.clear();
    for (const [id, key] of keys) this.#storedKeys.set(id, key);
  }

  /** Where one of this machine's snapshots lies in object storage; null where it doesn't. */
  storedKeyOf(id: string): string | null {
    return this.#storedKeys.get(id) ?? null;
  }

  /**
   * @param coding what is to be sent; a pre-signed URL names a single object
   * @throws `snapshot_elsewhere` where only a process has it that can't be reached; `object_store_unavailable`
   */
  async find(query: SnapshotQuery, coding: FormCoding, signal: AbortSignal): Promise<FoundSnapshot | null> {
    const { shelf, register, objects } = this.#parts;
    const isWanted = matching(query);
    const file = await shelf.find(isWanted);
    const storedKey = file === null ? undefined : this.#storedKeys.get(file.manifest.id);
    if (file !== null) {
      if (objects?.presigns !== true || storedKey === undefined) return { kind: "file", file };
      return this.#inObjectStorage(objects, storedKey, file.manifest, coding, signal);
    }
    const records = await register.elsewhere(query.entity, signal);
    const wanted = records.filter(({ manifest }) => isWanted(manifest));
    const best = wanted.find(({ objectKey }) => objectKey !== null && objects !== null) ?? wanted[0];
    if (best === undefined) return null;
    if (best.objectKey !== null && objects !== null) {
      return objects.presigns
        ? this.#inObjectStorage(objects, best.objectKey, best.manifest, coding, signal)
        : { kind: "file", file: await this.fetch(best, signal) };
    }
    return this.#atHolder(best);
  }

  /** What a snapshot is, wherever it lies; null where there is none. */
  async manifest(query: SnapshotQuery, signal: AbortSignal): Promise<SnapshotManifest | null> {
    const isWanted = matching(query);
    const file = await this.#parts.shelf.find(isWanted);
    if (file !== null) return file.manifest;
    const records = await this.#parts.register.elsewhere(query.entity, signal);
    return records.find(({ manifest }) => isWanted(manifest))?.manifest ?? null;
  }

  /** The process to ask for a point in time of a version of which nothing lies here; null where there is none. */
  async holderOf(entityName: string, version: number, signal: AbortSignal): Promise<string | null> {
    const { shelf, register, objects } = this.#parts;
    if (objects !== null || shelf.newestOf(version) !== null) return null;
    const records = await register.elsewhere(entityName, signal);
    return records.find(({ manifest, url }) => manifest.version === version && url !== "")?.url ?? null;
  }

  /** Fetches a snapshot out of object storage. */
  async fetch({ manifest, objectKey }: ListedRecord, signal: AbortSignal): Promise<ShelvedFile> {
    const { objects, files } = this.#parts;
    if (objects === null || objectKey === null) throw new TypeError("the snapshot is not in object storage");
    return files.get(`object ${manifest.id}`, manifest.size_bytes, (path) =>
      objects.fetch(objectKey, manifest, path, signal),
    );
  }

  async #inObjectStorage(
    objects: ObjectShelf,
    key: string,
    manifest: SnapshotManifest,
    coding: FormCoding,
    signal: AbortSignal,
  ): Promise<FoundSnapshot> {
    const isStored = manifest.compressions.some((form) => form.coding === coding);
    const url = await objects.presignedUrl(key, manifest, isStored ? coding : "identity", signal);
    return { kind: "elsewhere", manifest, url, isObject: true };
  }

  #atHolder({ manifest, holder, url }: ListedRecord): FoundSnapshot {
    if (url === "") {
      throw new EmcacheError(
        "snapshot_elsewhere",
        `The snapshot ${manifest.id} lies on ${holder}, which doesn't say how it is reached`,
        { details: { holder, snapshot: manifest.id, position: manifest.position } },
      );
    }
    const path = `/api/snapshots/${encodeURIComponent(manifest.entity)}?id=${encodeURIComponent(manifest.id)}`;
    return { kind: "elsewhere", manifest, url: url + path, isObject: false };
  }
}

function matching(query: SnapshotQuery): (manifest: SnapshotManifest) => boolean {
  return ({ entity, version, id }) =>
    entity === query.entity && (query.id === null ? version === query.version : id === query.id);
}
