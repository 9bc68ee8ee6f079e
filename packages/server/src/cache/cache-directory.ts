import { lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
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

/** SQLite's files beside a database; a database that moves or goes takes them with it. */
const SUFFIXES = ["", "-wal", "-shm", "-journal"];

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

  /** Removes a cache file, what SQLite keeps beside it, and a damaged one that was set aside. */
  remove(path: string): void {
    this.#guard(() => {
      for (const suffix of SUFFIXES) {
        rmSync(path + suffix, { force: true });
        rmSync(asideOf(path) + suffix, { force: true });
      }
    });
  }

  /** Moves a damaged file to `*.damaged`, for whoever wants to look at it; the one before it goes, so they don't add up. */
  setAside(path: string): string {
    const aside = asideOf(path);
    this.#guard(() => {
      for (const suffix of SUFFIXES) {
        rmSync(aside + suffix, { force: true });
        if (statSync(path + suffix, { throwIfNoEntry: false }) !== undefined) renameSync(path + suffix, aside + suffix);
      }
    });
    return aside;
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

function asideOf(path: string): string {
  return `${path}.damaged`;
}
