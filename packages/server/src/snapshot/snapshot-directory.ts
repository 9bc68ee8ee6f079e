import type { SnapshotManifest } from "@emcache/protocol";
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../runtime/logger.ts";

/** What is not complete yet ends with this and is removed at the next start. */
const BUILDING = ".building";
/** Which name a form of a snapshot's file has after `ID.db`. */
const FORM_SUFFIXES = { identity: "", zstd: ".zst", gzip: ".gz" } as const;

/** How the bytes of a stored file are coded; `identity` is the SQLite file itself. */
export type FormCoding = keyof typeof FORM_SUFFIXES;

const CODINGS: readonly FormCoding[] = ["identity", "zstd", "gzip"];

/** Files made for the Go client, in a folder beside the snapshots; made anew after each start. */
const LEGACY_FOLDER = "legacy";

/**
 * The files of snapshots: `ENTITY/ID.db`, its compressed forms `ID.db.zst` and `ID.db.gz`, and `ID.json`, its manifest. Writing the manifest is what makes a
 * snapshot exist, so that a crash at any moment leaves either a whole snapshot or leftovers that `load` removes.
 */
export class SnapshotDirectory {
  readonly root: string;
  readonly #logger: Logger;

  constructor(root: string, logger: Logger) {
    this.root = root;
    this.#logger = logger;
  }

  /** Path of the file of a snapshot, or of a form of it. */
  pathOf({ entity, id }: Pick<SnapshotManifest, "entity" | "id">, coding: FormCoding = "identity"): string {
    return join(this.root, entity, `${id}.db${FORM_SUFFIXES[coding]}`);
  }

  /** Where to build the file of a snapshot; its folder exists afterwards. */
  async buildingPathOf(snapshot: Pick<SnapshotManifest, "entity" | "id">): Promise<string> {
    await mkdir(join(this.root, snapshot.entity), { recursive: true });
    return this.pathOf(snapshot) + BUILDING;
  }

  /** Where to put files for the Go client; the folder exists afterwards. */
  async legacyFolderOf(entity: string): Promise<string> {
    const folder = join(this.root, entity, LEGACY_FOLDER);
    await mkdir(folder, { recursive: true });
    return folder;
  }

  /** Gives a file that was built at `buildingPathOf` its name and its manifest. */
  async publish(manifest: SnapshotManifest): Promise<void> {
    const path = this.pathOf(manifest);
    const manifestPath = this.#manifestPathOf(manifest);
    await rename(path + BUILDING, path);
    const file = await open(manifestPath + BUILDING, "w");
    try {
      await file.writeFile(`${JSON.stringify(manifest, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(manifestPath + BUILDING, manifestPath);
    await syncFolder(join(this.root, manifest.entity));
  }

  /** The manifest goes first: from then on the snapshot doesn't exist. */
  async remove(manifest: Pick<SnapshotManifest, "entity" | "id">): Promise<void> {
    await rm(this.#manifestPathOf(manifest), { force: true });
    await this.removeFiles(manifest);
  }

  /** Removes the forms of a snapshot that has no manifest. */
  async removeFiles(manifest: Pick<SnapshotManifest, "entity" | "id">): Promise<void> {
    for (const coding of CODINGS) await rm(this.pathOf(manifest, coding), { force: true });
    await rm(this.pathOf(manifest) + BUILDING, { force: true });
  }

  /** Removes the folder of an entity that has no snapshot any more; one that isn't empty stays. */
  async removeFolder(entity: string): Promise<void> {
    await rmdir(join(this.root, entity, LEGACY_FOLDER)).catch(() => {});
    await rmdir(join(this.root, entity)).catch(() => {});
  }

  /** Keeps a damaged file for whoever looks into it, out of the way. */
  async setAside(manifest: SnapshotManifest): Promise<void> {
    const path = this.pathOf(manifest);
    await rm(this.#manifestPathOf(manifest), { force: true });
    await rename(path, `${path}.damaged`).catch(() => {});
    await this.removeFiles(manifest);
  }

  /** Reads all manifests and removes what a crash left behind. */
  async load(): Promise<SnapshotManifest[]> {
    await mkdir(this.root, { recursive: true });
    const found: SnapshotManifest[] = [];
    for (const folder of await readdir(this.root, { withFileTypes: true })) {
      if (folder.isDirectory()) found.push(...(await this.#loadFolder(folder.name)));
    }
    return found;
  }

  async #loadFolder(name: string): Promise<SnapshotManifest[]> {
    const folder = join(this.root, name);
    await rm(join(folder, LEGACY_FOLDER), { recursive: true, force: true });
    const found: SnapshotManifest[] = [];
    const files = await readdir(folder);
    for (const file of files.filter((candidate) => candidate.endsWith(".json"))) {
      const manifest = await this.#readManifest(name, file);
      if (manifest !== null) found.push(manifest);
    }
    const kept = new Set(
      found.flatMap((manifest) => [
        `${manifest.id}.json`,
        ...formsOf(manifest).map(({ coding }) => `${manifest.id}.db${FORM_SUFFIXES[coding]}`),
      ]),
    );
    for (const file of files) {
      if (kept.has(file) || file.endsWith(".damaged")) continue;
      this.#logger.info(
        { event: "snapshot_leftover_removed", path: join(folder, file) },
        "removed an incomplete snapshot",
      );
      await rm(join(folder, file), { recursive: true, force: true });
    }
    // Of an entity that is gone, or that has no snapshot yet: made again when it is needed.
    if (found.length === 0) await rmdir(folder).catch(() => {});
    return found;
  }

  /** Null where the manifest is unreadable, of another entity, or without its file in full length. */
  async #readManifest(entity: string, file: string): Promise<SnapshotManifest | null> {
    try {
      const manifest = JSON.parse(await readFile(join(this.root, entity, file), "utf8")) as SnapshotManifest;
      if (manifest.entity !== entity || `${manifest.id}.json` !== file) return null;
      for (const { coding, sizeBytes } of formsOf(manifest)) {
        if ((await stat(this.pathOf(manifest, coding))).size !== sizeBytes) return null;
      }
      return manifest;
    } catch {
      return null;
    }
  }

  #manifestPathOf({ entity, id }: Pick<SnapshotManifest, "entity" | "id">): string {
    return join(this.root, entity, `${id}.json`);
  }
}

/** What a manifest says of each form of its file; the file itself comes first. */
export function formsOf(
  manifest: SnapshotManifest,
): { readonly coding: FormCoding; readonly sizeBytes: number; readonly sha256: string }[] {
  const compressed = manifest.compressions.map(({ coding, size_bytes, sha256 }) => ({
    coding,
    sizeBytes: size_bytes,
    sha256,
  }));
  return [{ coding: "identity", sizeBytes: manifest.size_bytes, sha256: manifest.sha256 }, ...compressed];
}

/** Makes renames in a folder survive a power failure. Not every file system lets a folder be synced. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => null);
  await folder?.sync().catch(() => {});
  await folder?.close();
}
