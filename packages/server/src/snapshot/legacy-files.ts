import type { SnapshotManifest } from "@emcache/protocol";
import { rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { compressFile } from "./compress-file.ts";
import { legacyStamps, type StampedFile } from "./legacy-stamp.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";
import type { SnapshotDirectory } from "./snapshot-directory.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** How a file's bytes are sent. */
export type LegacyCoding = "identity" | "gzip" | "zstd";

/** What a file for the Go client is made from. */
export type LegacyBase =
  | { readonly kind: "snapshot"; readonly manifest: SnapshotManifest }
  /** A cache whose first copy is running: in mode `sync`, which that client goes on with. */
  | { readonly kind: "cache"; readonly entity: string; readonly version: number; readonly path: string };

/** A file made while a copy runs is given out again for this long instead of being made anew for each client. */
const COPYING_FILE_AGE_MS_MAX = 5000;
/** Files kept of a version: the newest, and the one that a request may just be opening. */
const KEPT_OF_VERSION = 2;

const SUFFIXES: Readonly<Record<LegacyCoding, string>> = { identity: "", gzip: ".gz", zstd: ".zst" };

/**
 * Files for EMCache's Go client: without a view, stamped by `legacyStamps`, compressed once for each coding. They lie
 * in the folder `legacy` beside the snapshots and are made when asked for; concurrent requests share the making.
 */
export class LegacyFiles {
  readonly #dependencies: Pick<SnapshotDependencies, "registry" | "caches" | "oplog">;
  readonly #directory: SnapshotDirectory;
  readonly #tasks: SnapshotTasks;
  readonly #nowMs: () => number;
  /** Files that are there or being made, by path. */
  readonly #files = new Map<string, Promise<void>>();
  /** Paths without coding, oldest first, by version. */
  readonly #ofVersion = new Map<number, string[]>();
  /** The newest file made while a version's copy ran. */
  readonly #copying = new Map<number, { readonly path: Promise<string>; readonly madeAtMs: number }>();
  #serial = 0;

  constructor(
    dependencies: Pick<SnapshotDependencies, "registry" | "caches" | "oplog">,
    directory: SnapshotDirectory,
    tasks: SnapshotTasks,
    nowMs: () => number,
  ) {
    this.#dependencies = dependencies;
    this.#directory = directory;
    this.#tasks = tasks;
    this.#nowMs = nowMs;
  }

  /** Path of the file in this coding. */
  async file(base: LegacyBase, coding: LegacyCoding): Promise<string> {
    const path = base.kind === "snapshot" ? await this.#fromSnapshot(base.manifest) : await this.#fromCache(base);
    if (coding === "identity") return path;
    const compressed = path + SUFFIXES[coding];
    await this.#make(compressed, async () => {
      await compressFile(path, compressed, coding, this.#tasks.signal);
    });
    return compressed;
  }

  /** Removes the files of versions that are not served any more, and the folders that are empty then. */
  async keepOnly(isServed: (version: number) => boolean): Promise<void> {
    for (const [version, paths] of this.#ofVersion) {
      if (isServed(version)) continue;
      this.#ofVersion.delete(version);
      this.#copying.delete(version);
      for (const path of paths) {
        await this.#removeFile(path);
        await rmdir(dirname(path)).catch(() => {});
        await rmdir(dirname(dirname(path))).catch(() => {});
      }
    }
  }

  async #fromSnapshot(manifest: SnapshotManifest): Promise<string> {
    const sourcePath = this.#directory.pathOf(manifest);
    const stamp = await this.#stampOf(manifest.version, sourcePath);
    const folder = await this.#directory.legacyFolderOf(manifest.entity);
    const path = join(folder, `${manifest.id}-${stamp ?? manifest.position}.db`);
    await this.#make(path, () => this.#build(path, sourcePath, true, stamp));
    await this.#keepRecent(manifest.version, path);
    return path;
  }

  async #fromCache({ entity, version, path: sourcePath }: LegacyBase & { kind: "cache" }): Promise<string> {
    const last = this.#copying.get(version);
    if (last !== undefined && this.#nowMs() - last.madeAtMs < COPYING_FILE_AGE_MS_MAX) return last.path;
    const path = (async () => {
      const folder = await this.#directory.legacyFolderOf(entity);
      const made = join(folder, `copying-${version}-${++this.#serial}.db`);
      await this.#make(made, () => this.#build(made, sourcePath, false, null));
      await this.#keepRecent(version, made);
      return made;
    })();
    const entry = { path, madeAtMs: this.#nowMs() };
    this.#copying.set(version, entry);
    path.catch(() => {
      if (this.#copying.get(version) === entry) this.#copying.delete(version);
    });
    return path;
  }

  /** Null where the file's own position is right, or can't be read. */
  async #stampOf(version: number, path: string): Promise<number | null> {
    const { registry, caches, oplog } = this.#dependencies;
    const versions = new Map<string, number>([[path, version]]);
    for (const { entity } of registry.list()) {
      const cachePath = caches.pathOf(entity.id);
      if (cachePath !== null && entity.id !== version) versions.set(cachePath, entity.id);
    }
    const states = await this.#tasks.run({ kind: "state", paths: [...versions.keys()] });
    const files = states.map((state): StampedFile => ({ ...state, version: versions.get(state.path) ?? 0 }));
    // While PostgreSQL is away its floor doesn't move; a position below it is refused by the log, not by the file.
    const { floor } = await oplog.head().catch(() => ({ floor: 0 }));
    return legacyStamps(files, floor, this.#nowMs()).get(version) ?? null;
  }

  async #build(path: string, sourcePath: string, isSnapshot: boolean, stamp: number | null): Promise<void> {
    const targetPath = `${path}.building`;
    try {
      await rm(targetPath, { force: true });
      await this.#tasks.run({ kind: "legacy", sourcePath, isSnapshot, targetPath, stamp });
      await rename(targetPath, path);
    } catch (error) {
      await rm(targetPath, { force: true });
      throw error;
    }
  }

  /** Makes a file once; a failure is forgotten, so that the next request tries again. */
  #make(path: string, action: () => Promise<void>): Promise<void> {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    const making = action();
    this.#files.set(path, making);
    making.catch(() => this.#files.delete(path));
    return making;
  }

  async #keepRecent(version: number, path: string): Promise<void> {
    const paths = (this.#ofVersion.get(version) ?? []).filter((other) => other !== path);
    paths.push(path);
    const tooMany = paths.splice(0, Math.max(paths.length - KEPT_OF_VERSION, 0));
    this.#ofVersion.set(version, paths);
    for (const old of tooMany) await this.#removeFile(old);
  }

  async #removeFile(path: string): Promise<void> {
    for (const suffix of Object.values(SUFFIXES)) {
      this.#files.delete(path + suffix);
      await rm(path + suffix, { force: true });
    }
  }
}
