import { EmcacheError, type Entity, type SnapshotManifest } from "@emcache/protocol";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, type Clock } from "../runtime/clock.ts";
import type { Service } from "../runtime/service.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { EntryCounter } from "./entry-counter.ts";
import { type LegacyBase, type LegacyCoding, LegacyFiles } from "./legacy-files.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import { SnapshotDirectory } from "./snapshot-directory.ts";
import { SnapshotRegister } from "./snapshot-register.ts";
import { SnapshotShelf } from "./snapshot-shelf.ts";
import { SnapshotTasks } from "./snapshot-tasks.ts";

/** How often a client that waits for a file that can't be made yet is tried for again. */
const LEGACY_RETRY_MS = 100;
/** A snapshot this far behind its cache, in positions, is not given to the Go client, which would read it all by HTTP. */
const LEGACY_LAG_MAX = 10_000;
/** The manifest's cluster time is worth this wait; the snapshot itself needs no database. */
const CLUSTER_TIME_WAIT_MS = 2000;

/**
 * Makes, keeps and serves snapshots. One is made on demand, and by itself when an entity has none or `minLag` entries
 * since its last one. `keepCount` of each version are kept. Those of an entity that was deleted go with it; those of
 * a version that was replaced go once its successor has one.
 */
export class SnapshotManager implements Service {
  readonly name = "snapshots";
  readonly #dependencies: SnapshotDependencies;
  readonly #clock: Clock;
  readonly #directory: SnapshotDirectory;
  readonly #tasks = new SnapshotTasks();
  readonly #shelf: SnapshotShelf;
  readonly #register: SnapshotRegister;
  readonly #legacy: LegacyFiles;
  readonly #counter: EntryCounter;
  /** Builds that run, by version: whoever asks meanwhile shares the build. */
  readonly #builds = new Map<number, Promise<SnapshotManifest>>();
  #isRegistryLoaded = false;
  #loading: Promise<void> = Promise.resolve();
  #unsubscribe: () => void = () => {};
  #loop: Promise<void> = Promise.resolve();
  #pruning: Promise<void> = Promise.resolve();

  constructor(dependencies: SnapshotDependencies) {
    const { baseDir, store, holder, logger, oplog, clock = systemClock } = dependencies;
    this.#dependencies = dependencies;
    this.#clock = clock;
    this.#directory = new SnapshotDirectory(join(baseDir, "snapshots"), logger);
    this.#shelf = new SnapshotShelf(this.#directory, this.#tasks, logger);
    this.#register = new SnapshotRegister(store, holder, logger);
    this.#legacy = new LegacyFiles(dependencies, this.#directory, this.#tasks, () => clock.nowMs());
    this.#counter = new EntryCounter(oplog);
  }

  async start(): Promise<void> {
    await this.#shelf.load();
    const { registry } = this.#dependencies;
    this.#unsubscribe = registry.onChange(() => this.#prune());
    this.#loading = registry.loaded(this.#tasks.signal).then(
      () => {
        this.#isRegistryLoaded = true;
        this.#prune();
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
    await Promise.allSettled([this.#loop, this.#loading, this.#pruning, ...this.#builds.values()]);
    this.#dependencies.health.stopped();
  }

  /**
   * Makes a snapshot of the entity's live version now. Concurrent calls share one build; `signal` ends the waiting,
   * not the build.
   *
   * @throws EmcacheError `entity_not_found`, `snapshot_not_ready`, `snapshot_damaged`, `cache_unavailable`
   */
  async create(entityName: string, signal: AbortSignal): Promise<SnapshotManifest> {
    const versions = this.#dependencies.registry.get(entityName);
    if (versions === null) throw entityNotFound(entityName);
    if (versions.live === null) {
      throw new EmcacheError(
        "snapshot_not_ready",
        `The first copy of the entity ${JSON.stringify(entityName)} is still running`,
      );
    }
    const { entity } = versions.live;
    let build = this.#builds.get(entity.id);
    if (build === undefined) {
      this.#tasks.signal.throwIfAborted();
      build = this.#build(entity).finally(() => this.#builds.delete(entity.id));
      build.catch(() => {});
      this.#builds.set(entity.id, build);
    }
    return untilAborted(build, signal);
  }

  /** The newest verified snapshot of the entity's live version, and its file; null where there is none. */
  async newest(entityName: string): Promise<{ manifest: SnapshotManifest; path: string } | null> {
    const live = this.#dependencies.registry.get(entityName)?.live ?? null;
    if (live === null) return null;
    const manifest = await this.#shelf.newestVerified(live.entity.id);
    return manifest === null ? null : { manifest, path: this.#directory.pathOf(manifest) };
  }

  /** All verified snapshots on this machine, newest first. */
  async list(entityName?: string): Promise<SnapshotManifest[]> {
    const manifests = await this.#shelf.verified();
    return entityName === undefined ? manifests : manifests.filter(({ entity }) => entity === entityName);
  }

  /**
   * Path of the file that EMCache's Go client starts from (see `LegacyFiles`). While the first copy runs, the cache as
   * it is; where there is no cache yet (an entity created a moment ago), it waits for one.
   *
   * @throws EmcacheError `entity_not_found`; `snapshot_not_ready` where `signal` aborts first
   */
  async legacyFile(entityName: string, coding: LegacyCoding, signal: AbortSignal): Promise<string> {
    for (;;) {
      const base = await this.#legacyBase(entityName, signal).catch((error: unknown) => this.#notYet(error, signal));
      if (base !== null) {
        const path = await untilAborted(this.#legacy.file(base, coding), signal).catch((error: unknown) =>
          this.#notYet(error, signal),
        );
        if (path !== null) return path;
      }
      await this.#clock.sleep(LEGACY_RETRY_MS, signal).catch((error: unknown) => this.#notYet(error, signal));
    }
  }

  /** What time can heal is waited for; null then. */
  #notYet(error: unknown, signal: AbortSignal): null {
    if (signal.aborted || this.#tasks.signal.aborted) {
      throw new EmcacheError("snapshot_not_ready", "There is nothing to start from yet", { cause: error });
    }
    const isPassing = error instanceof EmcacheError && error.retryable && error.code !== "entity_not_found";
    if (isPassing) return null;
    throw error;
  }

  async #legacyBase(entityName: string, signal: AbortSignal): Promise<LegacyBase | null> {
    const { registry, caches } = this.#dependencies;
    const versions = registry.get(entityName);
    const version = versions?.live ?? versions?.pending ?? null;
    if (version === null) throw entityNotFound(entityName);
    const { id } = version.entity;
    if (version.state === "live") {
      const newest = await this.#shelf.newestVerified(id);
      if (newest !== null && (await this.#isRecent(newest))) return { kind: "snapshot", manifest: newest };
      try {
        return { kind: "snapshot", manifest: await this.create(entityName, signal) };
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
    const { caches, oplog } = this.#dependencies;
    const position = caches.statuses().get(manifest.version)?.position ?? manifest.position;
    if (position - manifest.position > LEGACY_LAG_MAX) return false;
    const { floor } = await oplog.head().catch(() => ({ floor: 0 }));
    return manifest.position >= floor - 1;
  }

  async #build(entity: Entity): Promise<SnapshotManifest> {
    const { caches, logger, health } = this.#dependencies;
    const sourcePath = caches.pathOf(entity.id);
    if (sourcePath === null) {
      throw new EmcacheError(
        "snapshot_not_ready",
        `This process has no cache of the entity ${JSON.stringify(entity.name)} yet`,
      );
    }
    const createdAt = new Date(this.#clock.nowMs()).toISOString();
    const id = `${createdAt.replaceAll(/[-:.]/g, "")}-${randomBytes(4).toString("hex")}`;
    const targetPath = await this.#directory.buildingPathOf({ entity: entity.name, id });
    try {
      const built = await this.#tasks.run({ kind: "build", sourcePath, targetPath });
      const manifest: SnapshotManifest = {
        id,
        entity: entity.name,
        version: entity.id,
        log_id: built.logId,
        position: built.position,
        tag: built.tag,
        cluster_time_s: await this.#clusterTimeS(entity, built.position),
        rows: built.rows,
        size_bytes: built.sizeBytes,
        sha256: built.sha256,
        created_at: createdAt,
      };
      if (!this.#isRegistered(entity.id)) throw entityNotFound(entity.name);
      await this.#directory.publish(manifest);
      this.#shelf.add(manifest);
      logger.info(
        {
          event: "snapshot_created",
          entity: entity.name,
          snapshot: id,
          position: built.position,
          rows: built.rows,
          sizeBytes: built.sizeBytes,
        },
        "made a snapshot",
      );
      await this.#register.add(manifest, this.#directory.pathOf(manifest), this.#tasks.signal);
      this.#prune();
      return manifest;
    } catch (error) {
      await rm(targetPath, { force: true });
      if (error instanceof EmcacheError && error.code === "snapshot_damaged") health.degraded(error);
      throw error;
    }
  }

  /** Null where the batch there is of another source, or PostgreSQL doesn't say in time. */
  async #clusterTimeS({ client }: Entity, position: number): Promise<number | null> {
    const signal = AbortSignal.any([this.#tasks.signal, AbortSignal.timeout(CLUSTER_TIME_WAIT_MS)]);
    const asked = this.#dependencies.oplog.batchAt(position, signal);
    const batch = await untilAborted(asked, signal).catch(() => null);
    if (batch === null || batch.source !== client || batch.clusterTime === null) return null;
    return Number(batch.clusterTime >> 32n);
  }

  #isRegistered(version: number): boolean {
    return this.#dependencies.registry.list().some(({ entity, state }) => entity.id === version && state !== "retired");
  }

  /** Removes what is not to be kept; one run at a time. */
  #prune(): void {
    const { logger } = this.#dependencies;
    this.#pruning = this.#pruning
      .then(() => this.#pruneNow())
      .catch((error: unknown) =>
        logger.warn({ event: "snapshot_removal_failed", error }, "a snapshot could not be removed"),
      );
  }

  async #pruneNow(): Promise<void> {
    const { registry, keepCount } = this.#dependencies;
    // Before it has read PostgreSQL the registry is empty, which says nothing about what was deleted.
    if (!this.#isRegistryLoaded) return;
    await this.#legacy.keepOnly((version) => this.#isRegistered(version));
    const kept = new Map<number, number>();
    for (const manifest of this.#shelf.all()) {
      const live = registry.get(manifest.entity)?.live ?? null;
      const count = (kept.get(manifest.version) ?? 0) + 1;
      const isCurrent = this.#isRegistered(manifest.version);
      const isReplaced = !isCurrent && (live === null || this.#shelf.newestOf(live.entity.id) !== null);
      if (isReplaced || count > Math.max(keepCount, 1)) await this.#remove(manifest);
      else kept.set(manifest.version, count);
    }
  }

  async #remove(manifest: SnapshotManifest): Promise<void> {
    await this.#shelf.remove(manifest);
    if (!this.#shelf.all().some(({ entity }) => entity === manifest.entity))
      await this.#directory.removeFolder(manifest.entity);
    await this.#register.remove(manifest.id, this.#tasks.signal);
    this.#dependencies.logger.info(
      { event: "snapshot_removed", entity: manifest.entity, snapshot: manifest.id },
      "removed a snapshot",
    );
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
        logger.warn({ event: "snapshot_check_failed", error }, "snapshots could not be checked; trying again");
      }
      await this.#clock.sleep(checkIntervalMs, signal).catch(() => {});
    }
  }

  /** One round: makes the snapshots that are due, and sets the register right. One failure doesn't skip the rest. */
  async #check(signal: AbortSignal): Promise<void> {
    const { registry } = this.#dependencies;
    const live = registry.list().filter(({ state }) => state === "live");
    this.#counter.keepOnly(new Set(live.map(({ entity }) => entity.id)));
    const failures: unknown[] = [];
    for (const { entity } of live) {
      try {
        if (await this.#isDue(entity, signal)) await this.create(entity.name, signal);
      } catch (error) {
        signal.throwIfAborted();
        const isNotReady =
          error instanceof EmcacheError && (error.code === "snapshot_not_ready" || error.code === "entity_not_found");
        if (!isNotReady) failures.push(error);
      }
    }
    this.#prune();
    await this.#pruning;
    await this.#register.reconcile(this.#shelf.all(), (manifest) => this.#directory.pathOf(manifest), signal);
    if (failures.length > 0) throw failures[0];
  }

  async #isDue({ id }: Entity, signal: AbortSignal): Promise<boolean> {
    const { caches, minLag } = this.#dependencies;
    const status = caches.statuses().get(id);
    if (status === undefined || status.dataState !== "whole" || this.#builds.has(id)) return false;
    const newest = await this.#shelf.newestVerified(id);
    if (newest === null) return true;
    const wanted = Math.max(minLag, 1);
    if (status.position - newest.position < wanted) return false;
    return this.#counter.hasEntries(id, newest.position, status.position, wanted, signal);
  }
}

function entityNotFound(name: string): EmcacheError {
  return new EmcacheError("entity_not_found", `There is no entity ${JSON.stringify(name)}`);
}
