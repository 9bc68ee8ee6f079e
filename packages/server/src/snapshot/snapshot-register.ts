import type { SnapshotManifest } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import type { SnapshotStore } from "./snapshot-store-port.ts";

/** Keeps the shared register true to the files of this process, whatever it missed while PostgreSQL was away. */
export class SnapshotRegister {
  readonly #store: SnapshotStore;
  readonly #holder: string;
  readonly #logger: Logger;

  constructor(store: SnapshotStore, holder: string, logger: Logger) {
    this.#store = store;
    this.#holder = holder;
    this.#logger = logger;
  }

  /** Registers a new snapshot; a failure is made good by the next `reconcile`. */
  async add(manifest: SnapshotManifest, path: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#store.insert({ manifest, holder: this.#holder, path }, signal);
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

  /** Registers what is there and not registered, and takes off what this process has no more. */
  async reconcile(
    manifests: readonly SnapshotManifest[],
    pathOf: (manifest: SnapshotManifest) => string,
    signal: AbortSignal,
  ): Promise<void> {
    const registered = (await this.#store.list(null, signal)).filter(({ holder }) => holder === this.#holder);
    const registeredIds = new Set(registered.map(({ manifest }) => manifest.id));
    const presentIds = new Set(manifests.map(({ id }) => id));
    for (const manifest of manifests) {
      if (registeredIds.has(manifest.id)) continue;
      await this.#store.insert({ manifest, holder: this.#holder, path: pathOf(manifest) }, signal);
    }
    for (const { manifest } of registered) {
      if (!presentIds.has(manifest.id)) await this.#store.remove(manifest.id, signal);
    }
  }
}
