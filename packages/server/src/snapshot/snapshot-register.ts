import type { SnapshotManifest } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import type { ListedRecord, SnapshotRecord, SnapshotStore } from "./snapshot-store-port.ts";

/** A holder that said nothing for so long is gone: nobody is sent to it. Thirty times its usual interval. */
const HOLDER_SILENT_S_MAX = 300;

/** Keeps the shared register true to the files of this process, whatever it missed while PostgreSQL was away. */
export class SnapshotRegister {
  readonly #store: SnapshotStore;
  readonly #holder: string;
  readonly #url: string;
  readonly #logger: Logger;

  /** @param url this process's API as others reach it; "" where they don't */
  constructor(store: SnapshotStore, { holder, url }: { holder: string; url: string }, logger: Logger) {
    this.#store = store;
    this.#holder = holder;
    this.#url = url;
    this.#logger = logger;
  }

  /** Registers a new snapshot; a failure is made good by the next `reconcile`. */
  async add(manifest: SnapshotManifest, path: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#store.insert(this.#recordOf(manifest, path), signal);
    } catch (error) {
      this.#logger.warn(
        { event: "snapshot_not_registered", snapshot: manifest.id, error },
        "the snapshot will be registered later",
      );
    }
  }

  /** Takes a snapshot that is gone off the register; a failure is made good by the next `reconcile`. */
  async remove(id: string, signal: AbortSignal): Promise<void> {
    await this.#store.remove(id, signal).catch(() => {});
  }

  /** Where others than this process hold snapshots of an entity, newest first: in object storage, or a holder that lives. */
  async elsewhere(entityName: string | null, signal: AbortSignal): Promise<ListedRecord[]> {
    const records = await this.#store.list(entityName, signal);
    return records.filter((record) => !record.isDeleted && (record.objectKey !== null || this.isHeldElsewhere(record)));
  }

  /** Whether another process that lives has the file and looks after it. */
  isHeldElsewhere({ holder, silentS }: ListedRecord): boolean {
    return holder !== this.#holder && silentS < HOLDER_SILENT_S_MAX;
  }

  /** Has a snapshot removed by its holder. */
  async markDeleted(id: string, signal: AbortSignal): Promise<void> {
    await this.#store.markDeleted(id, signal);
  }

  /**
   * Registers what is there and not registered, takes off what this process has no more, and says that it lives.
   *
   * @returns those that another process deleted: their files are to be removed
   */
  async reconcile(
    manifests: readonly SnapshotManifest[],
    pathOf: (manifest: SnapshotManifest) => string,
    signal: AbortSignal,
  ): Promise<SnapshotManifest[]> {
    const registered = (await this.#store.list(null, signal)).filter(({ holder }) => holder === this.#holder);
    const registeredIds = new Set(registered.map(({ manifest }) => manifest.id));
    const present = new Map(manifests.map((manifest) => [manifest.id, manifest]));
    for (const manifest of manifests) {
      if (!registeredIds.has(manifest.id)) await this.#store.insert(this.#recordOf(manifest, pathOf(manifest)), signal);
    }
    for (const { manifest, objectKey } of registered) {
      // What is in object storage stays listed: others can start from it.
      if (!present.has(manifest.id) && objectKey === null) await this.#store.remove(manifest.id, signal);
    }
    await this.#store.seen(this.#holder, this.#url, signal);
    return registered.flatMap(({ manifest, isDeleted }) => (isDeleted ? (present.get(manifest.id) ?? []) : []));
  }

  #recordOf(manifest: SnapshotManifest, path: string): SnapshotRecord {
    return { manifest, holder: this.#holder, path, url: this.#url, objectKey: null };
  }
}
