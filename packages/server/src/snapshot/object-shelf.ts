import { EmcacheError, type SnapshotManifest } from "@emcache/protocol";
import { rm } from "node:fs/promises";
import type { Logger } from "../runtime/logger.ts";
import type { ObjectFacts, ObjectStore } from "./object-store.ts";
import { type FormCoding, formsOf } from "./snapshot-directory.ts";
import type { ShelvedFile } from "./snapshot-shelf.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** An object without a registered snapshot, or an upload that was not ended, is left of a crash after this time. */
const ORPHAN_AGE_MS = 24 * 60 * 60 * 1000;

const SUFFIXES: Readonly<Record<FormCoding, string>> = { identity: ".db", zstd: ".db.zst", gzip: ".db.gz" };
const MANIFEST_SUFFIX = ".json";

/**
 * Snapshots in object storage: `PREFIX/snapshots/LOG/ENTITY/ID.db` with its compressed forms, and last `ID.json`, its
 * manifest. What is found there is compared with its manifest before it is used.
 */
export class ObjectShelf {
  readonly #store: ObjectStore;
  readonly #tasks: SnapshotTasks;
  readonly #logger: Logger;

  constructor(store: ObjectStore, tasks: SnapshotTasks, logger: Logger) {
    this.#store = store;
    this.#tasks = tasks;
    this.#logger = logger;
  }

  /** Whether clients are sent to the storage itself. */
  get presigns(): boolean {
    return this.#store.presigns;
  }

  /** Stores a snapshot and gives its key, which names all its objects. */
  async store({ manifest, forms }: ShelvedFile, signal: AbortSignal): Promise<string> {
    const key = this.#keyOf(manifest);
    for (const { coding, path } of forms) {
      await this.#store.putFile(key + SUFFIXES[coding], path, factsOf(manifest, coding), signal);
    }
    await this.#store.putText(key + MANIFEST_SUFFIX, `${JSON.stringify(manifest, null, 2)}\n`, signal);
    const { id, entity } = manifest;
    this.#logger.info({ event: "snapshot_stored", entity, snapshot: id, key }, "stored a snapshot in object storage");
    return key;
  }

  async remove(key: string, signal: AbortSignal): Promise<void> {
    // The manifest first: from then on nobody takes it for whole.
    await this.#store.remove([key + MANIFEST_SUFFIX], signal);
    await this.#store.remove(
      Object.values(SUFFIXES).map((suffix) => key + suffix),
      signal,
    );
  }

  /** Where a client gets a form of a snapshot's file by itself. */
  presignedUrl(key: string, manifest: SnapshotManifest, coding: FormCoding, signal: AbortSignal): Promise<string> {
    return this.#store.presignedUrl(key + SUFFIXES[coding], factsOf(manifest, coding), signal);
  }

  /** Fetches the file of a snapshot into `path`. @throws `snapshot_damaged` where it is not what the manifest says */
  async fetch(key: string, manifest: SnapshotManifest, path: string, signal: AbortSignal): Promise<ShelvedFile> {
    try {
      await this.#store.getFile(key + SUFFIXES.identity, path, signal);
      const [sums] = await this.#tasks.run({ kind: "sum", paths: [path] });
      if (sums?.sha256 !== manifest.sha256) {
        throw new EmcacheError("snapshot_damaged", `${key} in object storage is not what was stored`, {
          hint: "Delete it (DELETE /api/snapshots/{entity}/{id}); another snapshot is used meanwhile.",
        });
      }
      return { manifest: { ...manifest, compressions: [] }, forms: [{ coding: "identity", path, ...sums }] };
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  /**
   * Removes what crashes left: objects of this log that no registered snapshot has, and uploads that nobody goes on
   * with, both only when they are old.
   */
  async collect(logId: string, registeredKeys: ReadonlySet<string>, nowMs: number, signal: AbortSignal): Promise<void> {
    const prefix = this.#prefixOf(logId);
    const before = nowMs - ORPHAN_AGE_MS;
    const objects = await this.#store.list(prefix, signal);
    const orphans = objects.filter(
      ({ key, modifiedAtMs }) =>
        modifiedAtMs < before && !registeredKeys.has(key.replace(/\.(?:db|db\.zst|db\.gz|json)$/, "")),
    );
    if (orphans.length > 0)
      await this.#store.remove(
        orphans.map(({ key }) => key),
        signal,
      );
    const uploads = (await this.#store.pendingUploads(prefix, signal)).filter(
      ({ startedAtMs }) => startedAtMs < before,
    );
    for (const upload of uploads) await this.#store.abortUpload(upload, signal);
    if (orphans.length + uploads.length === 0) return;
    this.#logger.info(
      { event: "object_store_collected", objects: orphans.length, uploads: uploads.length },
      "removed from object storage what crashes had left",
    );
  }

  #prefixOf(logId: string): string {
    return `${this.#store.prefix}snapshots/${logId}/`;
  }

  #keyOf({ log_id: logId, entity, id }: SnapshotManifest): string {
    return `${this.#prefixOf(logId)}${entity}/${id}`;
  }
}

function factsOf(manifest: SnapshotManifest, coding: FormCoding): ObjectFacts {
  const sha256 = formsOf(manifest).find((form) => form.coding === coding)?.sha256 ?? manifest.sha256;
  return {
    contentType: "application/vnd.sqlite3",
    contentEncoding: coding === "identity" ? null : coding,
    fileName: `${manifest.entity}.db`,
    metadata: {
      "emcache-snapshot-id": manifest.id,
      "emcache-version": String(manifest.version),
      "emcache-log-id": manifest.log_id,
      "emcache-position": String(manifest.position),
      "emcache-tag": manifest.tag,
      "emcache-sha256": manifest.sha256,
      "emcache-stored-sha256": sha256,
    },
  };
}
