import { EmcacheError, type Entity, type SnapshotManifest } from "@emcache/protocol";
import { randomBytes } from "node:crypto";
import type { Clock } from "../runtime/clock.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { secondsOf } from "./point-in-time.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import type { SnapshotDirectory } from "./snapshot-directory.ts";
import type { ShelvedFile } from "./snapshot-shelf.ts";
import type { CompressedTarget, MadeSums } from "./snapshot-task.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** The manifest's cluster time is worth this wait; the snapshot itself needs no database. */
const CLUSTER_TIME_WAIT_MS = 2000;

/** zstd for those who take it: smaller and faster for both ends (measured); gzip for all others. */
const COMPRESSIONS = ["zstd", "gzip"] as const;

/** Makes snapshots: the verified file, its compressed forms, its manifest. */
export class SnapshotBuilder {
  readonly #dependencies: Pick<SnapshotDependencies, "caches" | "times" | "registry">;
  readonly #directory: SnapshotDirectory;
  readonly #tasks: SnapshotTasks;
  readonly #clock: Clock;

  constructor(
    dependencies: Pick<SnapshotDependencies, "caches" | "times" | "registry">,
    directory: SnapshotDirectory,
    tasks: SnapshotTasks,
    clock: Clock,
  ) {
    this.#dependencies = dependencies;
    this.#directory = directory;
    this.#tasks = tasks;
    this.#clock = clock;
  }

  /** Makes one of the cache. @throws `snapshot_not_ready`, `snapshot_damaged`, `cache_unavailable`, `entity_not_found` */
  async build(entity: Entity): Promise<ShelvedFile> {
    const sourcePath = this.#dependencies.caches.pathOf(entity.id);
    if (sourcePath === null) {
      throw new EmcacheError(
        "snapshot_not_ready",
        `This process has no cache of the entity ${JSON.stringify(entity.name)} yet`,
      );
    }
    return this.#publish(entity, async (targets) => {
      const built = await this.#tasks.run({ kind: "build", sourcePath, ...targets });
      const { logId, position, tag, rows } = built;
      const timeS = await this.#clusterTimeS(entity, position);
      return { ...built, facts: { log_id: logId, position, tag, rows, cluster_time_s: timeS } };
    });
  }

  /** Makes one out of another, for a later position up to which the entity had no entries. */
  async stamp(entity: Entity, from: ShelvedFile, point: { position: number; tag: string }): Promise<ShelvedFile> {
    const { log_id, rows } = from.manifest;
    return this.#publish(entity, async (targets) => {
      const sourcePath = this.#directory.pathOf(from.manifest);
      const made = await this.#tasks.run({ kind: "stamp", sourcePath, ...targets, ...point });
      const timeS = await this.#clusterTimeS(entity, point.position);
      return { ...made, facts: { log_id, ...point, rows, cluster_time_s: timeS } };
    });
  }

  async #publish(
    entity: Entity,
    make: (targets: { readonly targetPath: string; readonly compressed: readonly CompressedTarget[] }) => Promise<
      MadeSums & {
        readonly facts: Pick<SnapshotManifest, "log_id" | "position" | "tag" | "rows" | "cluster_time_s">;
      }
    >,
  ): Promise<ShelvedFile> {
    const createdAt = new Date(this.#clock.nowMs()).toISOString();
    const id = `${createdAt.replaceAll(/[-:.]/g, "")}-${randomBytes(4).toString("hex")}`;
    const place = { entity: entity.name, id };
    const targetPath = await this.#directory.buildingPathOf(place);
    const targets = COMPRESSIONS.map((coding) => ({ coding, path: this.#directory.pathOf(place, coding) }));
    try {
      const made = await make({ targetPath, compressed: targets });
      const { facts, sums } = made;
      const compressed = targets.flatMap((target, index) => {
        const form = made.compressed[index];
        return form === undefined ? [] : [{ ...target, ...form }];
      });
      const manifest: SnapshotManifest = {
        ...place,
        version: entity.id,
        ...facts,
        size_bytes: sums.sizeBytes,
        sha256: sums.sha256,
        compressions: compressed.map(({ coding, sizeBytes, sha256 }) => ({ coding, size_bytes: sizeBytes, sha256 })),
        created_at: createdAt,
      };
      if (!this.#isRegistered(entity.id)) {
        throw new EmcacheError("entity_not_found", `There is no entity ${JSON.stringify(entity.name)}`);
      }
      await this.#directory.publish(manifest);
      const path = this.#directory.pathOf(place);
      return { manifest, forms: [{ coding: "identity", path, ...sums }, ...compressed] };
    } catch (error) {
      await this.#directory.removeFiles(place);
      throw error;
    }
  }

  /** Null where PostgreSQL doesn't say in time. */
  async #clusterTimeS({ client }: Entity, position: number): Promise<number | null> {
    const signal = AbortSignal.any([this.#tasks.signal, AbortSignal.timeout(CLUSTER_TIME_WAIT_MS)]);
    const asked = this.#dependencies.times.timeAt(client, position, signal);
    const time = await untilAborted(asked, signal).catch(() => null);
    return time === null ? null : secondsOf(time);
  }

  #isRegistered(version: number): boolean {
    return this.#dependencies.registry.list().some(({ entity, state }) => entity.id === version && state !== "retired");
  }
}
