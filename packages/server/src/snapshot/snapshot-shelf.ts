import type { SnapshotManifest } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import type { SnapshotDirectory } from "./snapshot-directory.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** One snapshot on this machine. */
interface Shelved {
  readonly manifest: SnapshotManifest;
  /** Null until its file was compared with its SHA-256; then whether it was equal. */
  verified: Promise<boolean> | null;
}

/**
 * The snapshots whose files this process has. A file that an earlier process wrote is compared with its SHA-256
 * before it is listed or served for the first time; a damaged one is set aside and never seen.
 */
export class SnapshotShelf {
  readonly #directory: SnapshotDirectory;
  readonly #tasks: SnapshotTasks;
  readonly #logger: Logger;
  /** Newest first. */
  #shelved: Shelved[] = [];

  constructor(directory: SnapshotDirectory, tasks: SnapshotTasks, logger: Logger) {
    this.#directory = directory;
    this.#tasks = tasks;
    this.#logger = logger;
  }

  async load(): Promise<void> {
    for (const manifest of await this.#directory.load()) this.#insert({ manifest, verified: null });
  }

  /** Adds one that was built and verified by this process. */
  add(manifest: SnapshotManifest): void {
    this.#insert({ manifest, verified: Promise.resolve(true) });
  }

  /** All manifests, newest first, verified or not. */
  all(): SnapshotManifest[] {
    return this.#shelved.map(({ manifest }) => manifest);
  }

  /** The newest of a version, verified or not. */
  newestOf(version: number): SnapshotManifest | null {
    return this.#shelved.find(({ manifest }) => manifest.version === version)?.manifest ?? null;
  }

  /** The newest verified one of a version. */
  async newestVerified(version: number): Promise<SnapshotManifest | null> {
    for (const shelved of this.#shelved.filter(({ manifest }) => manifest.version === version)) {
      if (await this.#isVerified(shelved)) return shelved.manifest;
    }
    return null;
  }

  /** All verified ones, newest first. */
  async verified(): Promise<SnapshotManifest[]> {
    const found: SnapshotManifest[] = [];
    for (const shelved of this.#shelved) if (await this.#isVerified(shelved)) found.push(shelved.manifest);
    return found;
  }

  async remove(manifest: SnapshotManifest): Promise<void> {
    this.#shelved = this.#shelved.filter((other) => other.manifest !== manifest);
    await this.#directory.remove(manifest);
  }

  #insert(shelved: Shelved): void {
    // A new array: whoever goes through the old one while files are verified is not disturbed.
    this.#shelved = [...this.#shelved, shelved].sort(
      (a, b) => b.manifest.position - a.manifest.position || b.manifest.id.localeCompare(a.manifest.id),
    );
  }

  #isVerified(shelved: Shelved): Promise<boolean> {
    if (shelved.verified === null) {
      const verifying = this.#verify(shelved.manifest);
      shelved.verified = verifying;
      verifying.catch(() => {
        shelved.verified = null;
      });
    }
    return shelved.verified ?? Promise.resolve(false);
  }

  async #verify(manifest: SnapshotManifest): Promise<boolean> {
    const path = this.#directory.pathOf(manifest);
    const sha256 = await this.#tasks.run({ kind: "hash", path });
    if (sha256 === manifest.sha256) return true;
    this.#logger.error(
      { event: "snapshot_damaged", entity: manifest.entity, path, expected: manifest.sha256, found: sha256 },
      "a snapshot's file is not what was written; it was set aside",
    );
    this.#shelved = this.#shelved.filter((other) => other.manifest !== manifest);
    await this.#directory.setAside(manifest);
    return false;
  }
}
