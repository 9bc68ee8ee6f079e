import type { SnapshotManifest } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import { type FormCoding, formsOf, type SnapshotDirectory } from "./snapshot-directory.ts";
import type { SnapshotTasks } from "./snapshot-tasks.ts";

/** One form of a snapshot's file on this machine, compared with its SHA-256. */
export interface StoredForm {
  readonly coding: FormCoding;
  readonly path: string;
  readonly sizeBytes: number;
  /** Of this form, lower-case hex. */
  readonly sha256: string;
  /** See `FileSums`: each part that is read is compared with it. */
  readonly chunkSums: Uint32Array;
}

/** A snapshot on this machine, as it can be handed out. */
export interface ShelvedFile {
  readonly manifest: SnapshotManifest;
  /** The file itself first, then its compressed forms. */
  readonly forms: readonly StoredForm[];
}

/** One snapshot on this machine. */
interface Shelved {
  readonly manifest: SnapshotManifest;
  /** Null until its files were compared with their SHA-256; then its forms, or null where one was not equal. */
  verified: Promise<ShelvedFile | null> | null;
}

/**
 * The snapshots whose files this process has. What an earlier process wrote is compared with its SHA-256 before it is
 * listed or served for the first time; what is damaged, then or when it is read later, is set aside and never seen.
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
  add(file: ShelvedFile): void {
    this.#insert({ manifest: file.manifest, verified: Promise.resolve(file) });
  }

  /** All manifests, newest first, verified or not. */
  all(): SnapshotManifest[] {
    return this.#shelved.map(({ manifest }) => manifest);
  }

  /** The newest of a version, verified or not. */
  newestOf(version: number): SnapshotManifest | null {
    return this.#shelved.find(({ manifest }) => manifest.version === version)?.manifest ?? null;
  }

  /** The newest verified one that a condition holds for. */
  async find(condition: (manifest: SnapshotManifest) => boolean): Promise<ShelvedFile | null> {
    for (const shelved of this.#shelved.filter(({ manifest }) => condition(manifest))) {
      const file = await this.#verifiedFile(shelved);
      if (file !== null) return file;
    }
    return null;
  }

  /** The newest verified one of a version. */
  async newestVerified(version: number): Promise<SnapshotManifest | null> {
    return (await this.find((manifest) => manifest.version === version))?.manifest ?? null;
  }

  /** All verified ones, newest first. */
  async verified(): Promise<SnapshotManifest[]> {
    const found: SnapshotManifest[] = [];
    for (const shelved of this.#shelved) {
      if ((await this.#verifiedFile(shelved)) !== null) found.push(shelved.manifest);
    }
    return found;
  }

  async remove(manifest: SnapshotManifest): Promise<void> {
    this.#shelved = this.#shelved.filter((other) => other.manifest.id !== manifest.id);
    await this.#directory.remove(manifest);
  }

  /** Has it no more; its files stay. */
  forget(manifest: SnapshotManifest): void {
    this.#shelved = this.#shelved.filter((other) => other.manifest.id !== manifest.id);
  }

  /** Takes a snapshot away whose file is not what was written. */
  async setAside(manifest: SnapshotManifest, path: string, found: string): Promise<void> {
    if (!this.#shelved.some((other) => other.manifest.id === manifest.id)) return;
    this.#logger.error(
      { event: "snapshot_damaged", entity: manifest.entity, snapshot: manifest.id, path, found },
      "a snapshot's file is not what was written; it was set aside",
    );
    this.#shelved = this.#shelved.filter((other) => other.manifest.id !== manifest.id);
    await this.#directory.setAside(manifest);
  }

  #insert(shelved: Shelved): void {
    // A new array: whoever goes through the old one while files are verified is not disturbed.
    this.#shelved = [...this.#shelved, shelved].sort(
      (a, b) => b.manifest.position - a.manifest.position || b.manifest.id.localeCompare(a.manifest.id),
    );
  }

  async #verifiedFile(shelved: Shelved): Promise<ShelvedFile | null> {
    if (shelved.verified === null) {
      const verifying = this.#verify(shelved.manifest);
      shelved.verified = verifying;
      verifying.catch(() => {
        shelved.verified = null;
      });
    }
    return shelved.verified;
  }

  async #verify(manifest: SnapshotManifest): Promise<ShelvedFile | null> {
    const expected = formsOf(manifest).map((form) => ({
      ...form,
      path: this.#directory.pathOf(manifest, form.coding),
    }));
    const found = await this.#tasks.run({ kind: "sum", paths: expected.map(({ path }) => path) });
    const forms: StoredForm[] = [];
    for (const [index, { coding, path, sha256 }] of expected.entries()) {
      const sums = found[index];
      if (sums === undefined || sums.sha256 !== sha256) {
        await this.setAside(manifest, path, sums?.sha256 ?? "nothing");
        return null;
      }
      forms.push({ coding, path, ...sums });
    }
    return { manifest, forms };
  }
}
