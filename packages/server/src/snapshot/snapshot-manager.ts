import { EmcacheError, type Entity, type SnapshotManifest } from "@emcache/protocol";
import type { Service } from "../runtime/service.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { bootstrapCaches } from "./cache-bootstrap.ts";
import type { LegacyCoding } from "./legacy-files.ts";
import { LegacySnapshots } from "./legacy-snapshots.ts";
import type { PointInTime } from "./point-in-time.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import type { FormCoding } from "./snapshot-directory.ts";
import type { FoundSnapshot, SnapshotQuery } from "./snapshot-finder.ts";
import { type SnapshotParts, snapshotParts } from "./snapshot-parts.ts";
import type { ShelvedFile } from "./snapshot-shelf.ts";
import { SnapshotPruner } from "./snapshot-pruner.ts";
import { SnapshotTasks } from "./snapshot-tasks.ts";

/** What lies on other machines is listed if PostgreSQL says so in this time; what lies here is listed in any case. */
const LIST_WAIT_MS = 2000;

/** Null where that doesn't matter: the newest, of the live version. */
interface WantedSnapshot {
  readonly version: number | null;
  readonly id: string | null;
}

/**
 * Makes, keeps and serves snapshots: on demand, by a schedule, and by itself when an entity has none or `minLag`
 * entries since its last one. Those of an entity that was deleted go with it; those of a version that was replaced go
 * once its successor has one.
 */
export class SnapshotManager implements Service {
  readonly name = "snapshots";
  readonly #dependencies: SnapshotDependencies;
  readonly #tasks = new SnapshotTasks();
  readonly #parts: SnapshotParts;
  readonly #legacy: LegacySnapshots;
  readonly #pruner: SnapshotPruner;
  /** Builds that run, by version: whoever asks meanwhile shares the build. */
  readonly #builds = new Map<number, Promise<SnapshotManifest>>();
  #loading: Promise<void> = Promise.resolve();
  #unsubscribe: () => void = () => {};
  #loop: Promise<void> = Promise.resolve();
  #syncing: Promise<void> | null = null;
  #syncFailure: unknown = null;

  constructor(dependencies: SnapshotDependencies) {
    const tasks = this.#tasks;
    const parts = snapshotParts(dependencies, tasks);
    const { directory, shelf, clock } = parts;
    const create = (name: string, signal: AbortSignal): Promise<SnapshotManifest> => this.create(name, signal);
    this.#dependencies = dependencies;
    this.#parts = parts;
    this.#legacy = new LegacySnapshots({ dependencies, directory, tasks, shelf, clock, create });
    this.#pruner = new SnapshotPruner(dependencies, parts, tasks.signal, this.#legacy);
  }

  async start(): Promise<void> {
    await this.#parts.files.start();
    await this.#parts.shelf.load();
    const { registry } = this.#dependencies;
    this.#unsubscribe = registry.onChange(() => this.#pruner.prune());
    this.#loading = registry.loaded(this.#tasks.signal).then(
      () => {
        this.#pruner.registryLoaded();
        this.#pruner.prune();
      },
      () => {},
    );
    this.#loop = this.#checkForever();
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#unsubscribe();
    const builds = Promise.allSettled(this.#builds.values());
    // A build in hand may finish in the time there is; nothing new begins.
    await untilAborted(builds, signal).catch(() => {});
    this.#tasks.stop();
    await Promise.allSettled([this.#loop, this.#loading, this.#pruner.settled(), ...this.#builds.values()]);
    await this.#syncing;
    this.#dependencies.health.stopped();
  }

  /**
   * Makes a snapshot of the entity's live version now. Concurrent calls share one build; `signal` ends the waiting,
   * not the build.
   *
   * @throws EmcacheError `entity_not_found`, `snapshot_not_ready`, `snapshot_damaged`, `cache_unavailable`
   */
  async create(entityName: string, signal: AbortSignal): Promise<SnapshotManifest> {
    const entity = this.#liveEntity(entityName);
    return untilAborted(
      this.#share(entity, () => this.#parts.builder.build(entity)),
      signal,
    );
  }

  /** The newest verified snapshot of the entity's live version on this machine, and its file; null where there is none. */
  async newest(entityName: string): Promise<{ manifest: SnapshotManifest; path: string } | null> {
    const live = this.#dependencies.registry.get(entityName)?.live ?? null;
    if (live === null) return null;
    await this.#pruner.dropStrange();
    const manifest = await this.#parts.shelf.newestVerified(live.entity.id);
    return manifest === null ? null : { manifest, path: this.#parts.directory.pathOf(manifest) };
  }

  /**
   * Where a snapshot is: the newest of a version (null: of the live one), or the one of an id; null where there is none.
   *
   * @throws EmcacheError `snapshot_elsewhere`, `object_store_unavailable`, `postgres_unavailable`
   */
  async find(
    entityName: string,
    wanted: WantedSnapshot,
    coding: FormCoding,
    signal: AbortSignal,
  ): Promise<FoundSnapshot | null> {
    const query = this.#queryFor(entityName, wanted);
    if (query === null) return null;
    await this.#pruner.dropStrange();
    return this.#parts.finder.find(query, coding, signal);
  }

  /** What that snapshot is, wherever it lies. @throws EmcacheError `postgres_unavailable` */
  async manifest(entityName: string, wanted: WantedSnapshot, signal: AbortSignal): Promise<SnapshotManifest | null> {
    const query = this.#queryFor(entityName, wanted);
    if (query === null) return null;
    await this.#pruner.dropStrange();
    return this.#parts.finder.manifest(query, signal);
  }

  /**
   * The entity as it was at a point in time; another process is named where that alone has a
   * snapshot of it. `signal` ends the waiting, not the making, which others may share.
   *
   * @throws EmcacheError `point_unreachable`, `restore_refused`, `entity_not_found`, `snapshot_not_ready`
   */
  async restore(entityName: string, point: PointInTime, signal: AbortSignal): Promise<FoundSnapshot> {
    const entity = this.#liveEntity(entityName);
    const holder = await this.#parts.finder.holderOf(entityName, entity.id, signal);
    if (holder !== null) {
      const query = "position" in point ? `position=${point.position}` : `time=${point.timeS}`;
      const url = `${holder}/api/snapshots/${encodeURIComponent(entityName)}?${query}`;
      return { kind: "elsewhere", manifest: null, url, isObject: false };
    }
    const file = await untilAborted(this.#parts.restorer.restore(entity, point, this.#tasks.signal), signal);
    return { kind: "file", file };
  }

  /** All verified snapshots of this machine and, where PostgreSQL is there, of others; newest first. */
  async list(entityName?: string): Promise<SnapshotManifest[]> {
    await this.#pruner.dropStrange();
    const here = await this.#parts.shelf.verified();
    const ids = new Set(here.map(({ id }) => id));
    const signal = AbortSignal.any([this.#tasks.signal, AbortSignal.timeout(LIST_WAIT_MS)]);
    const elsewhere = await this.#parts.register.elsewhere(entityName ?? null, signal).catch(() => []);
    const others = elsewhere.map(({ manifest }) => manifest).filter(({ id }) => !ids.has(id));
    return [...here, ...others]
      .filter(({ entity }) => entityName === undefined || entity === entityName)
      .sort((a, b) => b.position - a.position || b.id.localeCompare(a.id));
  }

  /** Deletes a snapshot wherever it lies; another holder removes its file within its check interval. */
  async remove(entityName: string, id: string, signal: AbortSignal): Promise<void> {
    const here = this.#parts.shelf.all().find((manifest) => manifest.id === id && manifest.entity === entityName);
    if (here !== undefined) {
      await this.#pruner.remove(here);
      return;
    }
    const records = await this.#parts.register.elsewhere(entityName, signal);
    const record = records.find(({ manifest }) => manifest.id === id);
    if (record === undefined) {
      throw new EmcacheError("snapshot_not_found", `There is no snapshot ${id} of ${JSON.stringify(entityName)}`, {
        hint: "GET /api/snapshots lists them.",
      });
    }
    if (record.objectKey !== null) await this.#parts.objects?.remove(record.objectKey, signal);
    if (this.#parts.register.isHeldElsewhere(record)) await this.#parts.register.markDeleted(id, signal);
    else await this.#parts.register.remove(id, signal);
  }

  /** A file that was handed out is not what was written: it is not handed out again. */
  async damaged(file: ShelvedFile, path: string): Promise<void> {
    await this.#parts.shelf.setAside(file.manifest, path, "another checksum while it was read");
    await this.#parts.files.forget(path);
  }

  /** Path of the file that EMCache's Go client starts from; see `LegacySnapshots`. */
  legacyFile(entityName: string, coding: LegacyCoding, signal: AbortSignal): Promise<string> {
    return this.#legacy.file(entityName, coding, signal);
  }

  /** See `bootstrapCaches`; nothing where there is no object storage. */
  async bootstrapCaches(cachePathOf: (entity: Entity) => string, signal: AbortSignal): Promise<void> {
    const { objects, register } = this.#parts;
    if (objects === null) return;
    const { registry, oplog, logger } = this.#dependencies;
    await bootstrapCaches(
      { objects, register, registry, oplog, cachePathOf, logger },
      AbortSignal.any([signal, this.#tasks.signal]),
    );
  }

  #queryFor(entity: string, { version, id }: WantedSnapshot): SnapshotQuery | null {
    const wanted = version ?? this.#dependencies.registry.get(entity)?.live?.entity.id ?? null;
    return wanted === null && id === null ? null : { entity, version: wanted ?? -1, id };
  }

  #liveEntity(entityName: string): Entity {
    const versions = this.#dependencies.registry.get(entityName);
    if (versions === null) {
      throw new EmcacheError("entity_not_found", `There is no entity ${JSON.stringify(entityName)}`);
    }
    if (versions.live !== null) return versions.live.entity;
    const name = JSON.stringify(entityName);
    throw new EmcacheError("snapshot_not_ready", `The first copy of the entity ${name} is still running`);
  }

  /** One build a version at a time. */
  #share(entity: Entity, build: () => Promise<ShelvedFile>): Promise<SnapshotManifest> {
    let running = this.#builds.get(entity.id);
    if (running === undefined) {
      this.#tasks.signal.throwIfAborted();
      running = this.#shelve(entity, build).finally(() => this.#builds.delete(entity.id));
      running.catch(() => {});
      this.#builds.set(entity.id, running);
    }
    return running;
  }

  async #shelve(entity: Entity, build: () => Promise<ShelvedFile>): Promise<SnapshotManifest> {
    const { logger, health } = this.#dependencies;
    const beginMs = this.#parts.clock.monotonicMs();
    const span = this.#dependencies.tracer?.span("snapshot", {
      attributes: { entity: entity.name, version: entity.id },
    });
    try {
      const file = await build();
      this.#parts.shelf.add(file);
      this.#parts.due.made(entity.id, this.#parts.clock.monotonicMs() - beginMs);
      const { manifest } = file;
      const { id, position, rows, size_bytes: sizeBytes } = manifest;
      logger.info(
        { event: "snapshot_created", entity: entity.name, snapshot: id, position, rows, sizeBytes },
        "made a snapshot",
      );
      span?.set({ position, rows, bytes: sizeBytes });
      span?.end();
      await this.#parts.register.add(manifest, this.#parts.directory.pathOf(manifest), this.#tasks.signal);
      this.#pruner.prune();
      return manifest;
    } catch (error) {
      span?.end(error);
      if (error instanceof EmcacheError && error.code === "snapshot_damaged") health.degraded(error);
      throw error;
    }
  }

  async #checkForever(): Promise<void> {
    const { checkIntervalMs, logger, health } = this.#dependencies;
    const { signal } = this.#tasks;
    while (!signal.aborted) {
      try {
        await this.#check(signal);
        health.healthy();
      } catch (error) {
        if (signal.aborted) return;
        health.degraded(error);
        health.retried(error);
        logger.warn({ event: "snapshot_check_failed", error }, "snapshots could not be checked; trying again");
      }
      const untilScheduledMs = Math.max(this.#parts.due.scheduledAtMs - this.#parts.clock.nowMs(), 0);
      await this.#parts.clock.sleep(Math.min(checkIntervalMs, untilScheduledMs), signal).catch(() => {});
    }
  }

  /** One round: makes the snapshots that are due, and sets the register right. One failure doesn't skip the rest. */
  async #check(signal: AbortSignal): Promise<void> {
    const live = this.#dependencies.registry.list().filter(({ state }) => state === "live");
    this.#parts.due.begin(new Set(live.map(({ entity }) => entity.id)));
    const failures: unknown[] = [];
    await this.#pruner.dropStrange();
    for (const { entity } of live) {
      try {
        await this.#makeDue(entity, signal);
      } catch (error) {
        signal.throwIfAborted();
        const isNotReady =
          error instanceof EmcacheError && (error.code === "snapshot_not_ready" || error.code === "entity_not_found");
        if (!isNotReady) failures.push(error);
      }
    }
    this.#pruner.prune();
    await this.#pruner.settled();
    await this.#parts.files.sweep();
    const pathOf = (manifest: SnapshotManifest): string => this.#parts.directory.pathOf(manifest);
    for (const manifest of await this.#parts.register.reconcile(this.#parts.shelf.all(), pathOf, signal)) {
      await this.#pruner.remove(manifest);
    }
    this.#syncObjects(signal);
    if (this.#syncFailure !== null) failures.push(this.#syncFailure);
    if (failures.length > 0) throw failures[0];
  }

  async #makeDue(entity: Entity, signal: AbortSignal): Promise<void> {
    if (this.#builds.has(entity.id)) return;
    const newest = await this.#parts.shelf.find(({ version }) => version === entity.id);
    const action = await this.#parts.due.actionFor(entity, newest?.manifest ?? null, signal);
    if (action.kind === "none") return;
    await this.#share(entity, () =>
      action.kind === "stamp" && newest !== null
        ? this.#parts.builder.stamp(entity, newest, action.point)
        : this.#parts.builder.build(entity),
    );
  }

  /** Beside the rounds: an upload may take long. */
  #syncObjects(signal: AbortSignal): void {
    if (this.#parts.objectSync === null || this.#syncing !== null) return;
    const { logger } = this.#dependencies;
    this.#syncing = this.#parts.objectSync
      .run(signal)
      .then(
        () => (this.#syncFailure = null),
        (error: unknown) => {
          if (signal.aborted) return;
          this.#syncFailure = error;
          logger.warn({ event: "object_sync_failed", error }, "object storage is not up to date; trying again");
        },
      )
      .then(() => {
        this.#syncing = null;
      });
  }
}
