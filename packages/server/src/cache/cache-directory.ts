import { lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { SUMS_SUFFIX } from "@emcache/cache-file";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";

/** A cache file by its name. */
export interface NamedFile {
  readonly name: string;
  readonly version: number;
  readonly path: string;
}

const FILE_NAME = /^(?<name>\w+)\.v(?<version>\d+)\.db$/;
const LINK_NAME = /^(?<name>\w+)\.db$/;

/** The files beside a database, SQLite's and its checksums; a database that moves or goes takes them with it. */
const SUFFIXES = ["", "-wal", "-shm", "-journal", SUMS_SUFFIX];

/** What is put beside a cache file to take its place. */
const RESTORING_SUFFIX = ".restoring";

/** Between a damaged file's name and when and why it was set aside. */
const ASIDE_MARK = ".damaged-";

/** Damaged files of one version that are kept: the newest, and the one before it to tell a cause that comes back. */
const ASIDE_KEPT = 2;

/**
 * The directory of cache files: `NAME.v<version>.db` for each version, and the symbolic link `NAME.db` to the one that
 * is served. Every method throws `cache_unavailable` where the file system refuses.
 */
export class CacheDirectory {
  readonly #baseDir: string;

  constructor(baseDir: string) {
    this.#baseDir = resolve(baseDir);
  }

  /** Makes the directory where it is missing. */
  create(): void {
    this.#guard(() => mkdirSync(this.#baseDir, { recursive: true }));
  }

  pathOf(entity: Pick<Entity, "id" | "name">): string {
    return join(this.#baseDir, `${entity.name}.v${entity.id}.db`);
  }

  /** All cache files, of whatever version. */
  list(): NamedFile[] {
    const names = this.#guard(() => readdirSync(this.#baseDir));
    return names.flatMap((file) => {
      const groups = FILE_NAME.exec(file)?.groups;
      if (groups === undefined) return [];
      return [{ name: groups["name"] ?? "", version: Number(groups["version"]), path: join(this.#baseDir, file) }];
    });
  }

  /** Names that have a link. */
  linkedNames(): string[] {
    const entries = this.#guard(() => readdirSync(this.#baseDir, { withFileTypes: true }));
    return entries.flatMap((entry) =>
      entry.isSymbolicLink() ? (LINK_NAME.exec(entry.name)?.groups?.["name"] ?? []) : [],
    );
  }

  /** Path of the file that a name's link leads to; null where there is no link or the file is gone. */
  linkTarget(name: string): string | null {
    const link = this.#linkPath(name);
    return this.#guard(() => {
      if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
      const target = resolve(this.#baseDir, readlinkSync(link));
      return statSync(target, { throwIfNoEntry: false }) === undefined ? null : target;
    });
  }

  /** Lets `NAME.db` lead to this version's file, in one step: whoever opens it gets the one or the other. */
  link(entity: Pick<Entity, "id" | "name">): void {
    const link = this.#linkPath(entity.name);
    this.#guard(() => {
      const found = lstatSync(link, { throwIfNoEntry: false });
      if (found !== undefined && !found.isSymbolicLink()) {
        throw new EmcacheError("cache_unavailable", `${link} is not a link of EMCache's`, {
          hint: "Move it away: that name is the link to the entity's cache file.",
        });
      }
      const temporary = `${link}.link`;
      rmSync(temporary, { force: true });
      symlinkSync(`${entity.name}.v${entity.id}.db`, temporary);
      renameSync(temporary, link);
    });
  }

  unlink(name: string): void {
    const link = this.#linkPath(name);
    this.#guard(() => {
      if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(link);
    });
  }

  /** Takes away a link that leads to a file that is missing: nobody is to read the empty one that is made there. */
  unlinkMissing({ id, name }: Pick<Entity, "id" | "name">): void {
    const path = this.pathOf({ id, name });
    const link = this.#linkPath(name);
    this.#guard(() => {
      if (statSync(path, { throwIfNoEntry: false }) !== undefined) return;
      if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return;
      if (resolve(this.#baseDir, readlinkSync(link)) === path) rmSync(link);
    });
  }

  /** Puts the file that was made at `restoringPathOf` in a cache file's place. */
  adopt(path: string): void {
    this.#guard(() => {
      removeAll(path);
      renameSync(restoringPathOf(path), path);
    });
  }

  /** Removes a cache file, what lies beside it, and damaged ones of it that were set aside. */
  remove(path: string): void {
    this.#guard(() => {
      for (const aside of this.#asidesOf(path)) removeAll(aside);
      rmSync(restoringPathOf(path), { force: true });
      removeAll(path);
    });
  }

  /**
   * Moves a damaged file to `FILE.damaged-<when>-<why>`, for whoever wants to look at it; a link that leads to it goes
   * first. Older ones go, so that they don't add up.
   *
   * @param reason a few letters, digits and hyphens
   */
  setAside({ id, name }: Pick<Entity, "id" | "name">, reason: string): string {
    const path = this.pathOf({ id, name });
    const when = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const aside = `${path}${ASIDE_MARK}${when}-${reason.replaceAll(/[^\w-]/g, "")}`;
    this.#guard(() => {
      if (this.linkTarget(name) === path) this.unlink(name);
      for (const suffix of SUFFIXES) {
        if (statSync(path + suffix, { throwIfNoEntry: false }) !== undefined) renameSync(path + suffix, aside + suffix);
      }
      for (const older of this.#asidesOf(path).slice(ASIDE_KEPT)) removeAll(older);
    });
    return aside;
  }

  /** The damaged files of a version that were set aside, the newest first. */
  #asidesOf(path: string): string[] {
    const start = basename(path) + ASIDE_MARK;
    const names = readdirSync(this.#baseDir).filter((file) => file.startsWith(start));
    const isMain = (file: string): boolean => !SUFFIXES.some((suffix) => suffix !== "" && file.endsWith(suffix));
    return names
      .filter(isMain)
      .sort()
      .reverse()
      .map((file) => join(this.#baseDir, file));
  }

  #linkPath(name: string): string {
    return join(this.#baseDir, `${name}.db`);
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (error instanceof EmcacheError) throw error;
      throw new EmcacheError("cache_unavailable", `${this.#baseDir}: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Where to put a file that is to take a cache file's place. */
export function restoringPathOf(path: string): string {
  return path + RESTORING_SUFFIX;
}

/** The database itself goes last: what was broken off is still listed, and removed the next time. */
function removeAll(path: string): void {
  for (const suffix of SUFFIXES.toReversed()) rmSync(path + suffix, { force: true });
}
