import type { SnapshotManifest } from "@emcache/protocol";
import type { LegacySnapshots } from "./legacy-snapshots.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import type { SnapshotParts } from "./snapshot-parts.ts";
import { snapshotsToRemove } from "./snapshots-to-remove.ts";
import { strangeSnapshots } from "./snapshot-history.ts";

/** Removes snapshots: those that are not kept any more, of entities that are gone, of another history of the log. */
export class SnapshotPruner {
  readonly #dependencies: SnapshotDependencies;
  readonly #parts: SnapshotParts;
  readonly #signal: AbortSignal;
  readonly #legacy: LegacySnapshots;
  #isRegistryLoaded = false;
  #pruning: Promise<void> = Promise.resolve();

  constructor(dependencies: SnapshotDependencies, parts: SnapshotParts, signal: AbortSignal, legacy: LegacySnapshots) {
    this.#dependencies = dependencies;
    this.#parts = parts;
    this.#signal = signal;
    this.#legacy = legacy;
  }

  /** From now on an entity that the registry doesn't know is one that was deleted. */
  registryLoaded(): void {
    this.#isRegistryLoaded = true;
  }

  /** Resolves when what was begun is done. */
  async settled(): Promise<void> {
    await this.#pruning;
  }

  /** Removes what is not to be kept; one run at a time. */
  prune(): void {
    const { logger } = this.#dependencies;
    this.#pruning = this.#pruning
      .then(() => this.#pruneNow())
      .catch((error: unknown) =>
        logger.warn({ event: "snapshot_removal_failed", error }, "a snapshot could not be removed"),
      );
  }

  async #pruneNow(): Promise<void> {
    const { registry, keepCount, keepAgeMs } = this.#dependencies;
    // Before it has read PostgreSQL the registry is empty, which says nothing about what was deleted.
    if (!this.#isRegistryLoaded) return;
    await this.dropStrange();
    await this.#legacy.keepOnly((version) => this.#isRegistered(version));
    for (const [version, manifests] of Map.groupBy(this.#parts.shelf.all(), (manifest) => manifest.version)) {
      const live = registry.get(manifests[0]?.entity ?? "")?.live ?? null;
      const isReplaced =
        !this.#isRegistered(version) && (live === null || this.#parts.shelf.newestOf(live.entity.id) !== null);
      const removed = isReplaced
        ? manifests
        : snapshotsToRemove(manifests, { keepCount, keepAgeMs }, this.#parts.clock.nowMs());
      for (const manifest of removed) await this.remove(manifest);
    }
  }

  /**
   * Lets go of snapshots of a history that the log no longer has, before one is listed, served or registered again.
   * Those of another log keep their files: whoever mixed up two configurations gets them back.
   */
  async dropStrange(): Promise<void> {
    const { oplog, logger } = this.#dependencies;
    const { shelf } = this.#parts;
    const { lost, foreign } = await strangeSnapshots(oplog, shelf.all(), this.#signal);
    for (const manifest of foreign) shelf.forget(manifest);
    for (const manifest of [...lost, ...foreign]) {
      const { entity, id, position, log_id: logId } = manifest;
      logger.warn(
        { event: "snapshot_strange", entity, snapshot: id, position, logId },
        "a snapshot is of a history that the log no longer has",
      );
    }
    for (const manifest of lost) await this.remove(manifest);
  }

  async remove(manifest: SnapshotManifest): Promise<void> {
    const { logger } = this.#dependencies;
    await this.#parts.shelf.remove(manifest);
    if (!this.#parts.shelf.all().some(({ entity }) => entity === manifest.entity))
      await this.#parts.directory.removeFolder(manifest.entity);
    const key = this.#parts.finder.storedKeyOf(manifest.id);
    if (key !== null) {
      // What stays there now is without a register entry, and collected as an orphan.
      await this.#parts.objects?.remove(key, this.#signal).catch((error: unknown) => {
        logger.warn({ event: "object_removal_failed", key, error }, "a snapshot stays in object storage for a day");
      });
    }
    await this.#parts.register.remove(manifest.id, this.#signal);
    logger.info({ event: "snapshot_removed", entity: manifest.entity, snapshot: manifest.id }, "removed a snapshot");
  }

  #isRegistered(version: number): boolean {
    return this.#dependencies.registry.list().some(({ entity, state }) => entity.id === version && state !== "retired");
  }
}
