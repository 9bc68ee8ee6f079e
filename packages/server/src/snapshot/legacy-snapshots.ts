import { EmcacheError, type SnapshotManifest } from "@emcache/protocol";
import type { Clock } from "../runtime/clock.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { type LegacyBase, type LegacyCoding, LegacyFiles } from "./legacy-files.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import type { SnapshotDirectory } from "./snapshot-directory.ts";
import type { SnapshotShelf } from "./snapshot-shelf.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** How often a client that waits for a file that can't be made yet is tried for again. */
const RETRY_MS = 100;
/** A snapshot this far behind its cache, in positions, is not given to the Go client, which would read it all by HTTP. */
const LAG_MAX = 10_000;

/** What it works with. */
export interface LegacySnapshotsParts {
  readonly dependencies: Pick<SnapshotDependencies, "registry" | "caches" | "oplog">;
  readonly directory: SnapshotDirectory;
  readonly tasks: SnapshotTasks;
  readonly shelf: SnapshotShelf;
  readonly clock: Clock;
  readonly create: (entityName: string, signal: AbortSignal) => Promise<SnapshotManifest>;
}

/** Chooses, and waits for, what EMCache's Go client starts from; `LegacyFiles` makes it. */
export class LegacySnapshots {
  readonly #parts: LegacySnapshotsParts;
  readonly #files: LegacyFiles;

  constructor(parts: LegacySnapshotsParts) {
    const { dependencies, directory, tasks, clock } = parts;
    this.#parts = parts;
    this.#files = new LegacyFiles(dependencies, directory, tasks, () => clock.nowMs());
  }

  /**
   * Path of the file. While the first copy runs, the cache as it is; where there is no cache yet (an entity created a
   * moment ago), it waits for one.
   *
   * @throws EmcacheError `entity_not_found`; `snapshot_not_ready` where `signal` aborts first
   */
  async file(entityName: string, coding: LegacyCoding, signal: AbortSignal): Promise<string> {
    for (;;) {
      const base = await this.#base(entityName, signal).catch((error: unknown) => this.#notYet(error, signal));
      if (base !== null) {
        const path = await untilAborted(this.#files.file(base, coding), signal).catch((error: unknown) =>
          this.#notYet(error, signal),
        );
        if (path !== null) return path;
      }
      await this.#parts.clock.sleep(RETRY_MS, signal).catch((error: unknown) => this.#notYet(error, signal));
    }
  }

  /** Removes the files of versions that are not served any more. */
  keepOnly(isServed: (version: number) => boolean): Promise<void> {
    return this.#files.keepOnly(isServed);
  }

  /** What time can heal is waited for; null then. */
  #notYet(error: unknown, signal: AbortSignal): null {
    if (signal.aborted || this.#parts.tasks.signal.aborted) {
      throw new EmcacheError("snapshot_not_ready", "There is nothing to start from yet", { cause: error });
    }
    const isPassing = error instanceof EmcacheError && error.retryable && error.code !== "entity_not_found";
    if (isPassing) return null;
    throw error;
  }

  async #base(entityName: string, signal: AbortSignal): Promise<LegacyBase | null> {
    const { dependencies, shelf, create } = this.#parts;
    const { registry, caches } = dependencies;
    const versions = registry.get(entityName);
    const version = versions?.live ?? versions?.pending ?? null;
    if (version === null) {
      throw new EmcacheError("entity_not_found", `There is no entity ${JSON.stringify(entityName)}`);
    }
    const { id } = version.entity;
    if (version.state === "live") {
      const newest = await shelf.newestVerified(id);
      if (newest !== null && (await this.#isRecent(newest))) return { kind: "snapshot", manifest: newest };
      try {
        return { kind: "snapshot", manifest: await create(entityName, signal) };
      } catch (error) {
        if (signal.aborted || !(error instanceof EmcacheError)) throw error;
        // An older one is better than none; without any, the cache as it is, if its copy is still running here.
        if (newest !== null) return { kind: "snapshot", manifest: newest };
        if (error.code !== "snapshot_not_ready") throw error;
      }
    }
    const path = caches.pathOf(id);
    return path === null || !caches.statuses().has(id)
      ? null
      : { kind: "cache", entity: entityName, version: id, path };
  }

  /** Whether the log can be read on from a snapshot, without reading very much. */
  async #isRecent(manifest: SnapshotManifest): Promise<boolean> {
    const { caches, oplog } = this.#parts.dependencies;
    const position = caches.statuses().get(manifest.version)?.position ?? manifest.position;
    if (position - manifest.position > LAG_MAX) return false;
    const { floor } = await oplog.head().catch(() => ({ floor: 0 }));
    return manifest.position >= floor - 1;
  }
}
