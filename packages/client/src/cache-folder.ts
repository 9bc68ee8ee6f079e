import { lstatSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { basename, join, resolve } from "node:path";
import { SUMS_SUFFIX } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";

/** The files beside a database, SQLite's and its checksums; a database that moves or goes takes them with it. */
const SUFFIXES = ["", "-wal", "-shm", "-journal", SUMS_SUFFIX];

/** Between a damaged file's name and when and why it was set aside. */
const ASIDE_MARK = ".damaged-";

/** Damaged files of one entity that are kept: the newest, and the one before it to tell a cause that comes back. */
const ASIDE_KEPT = 2;

/** Names of entities, as the server allows them; anything else would leave the folder. */
const ENTITY_NAME = /^\w+$/;

/**
 * The folder of a client's files. `NAME.db` is a symbolic link to the file that is served, `NAME.vVERSION.RANDOM.db`:
 * each fetched file has a name of its own, so that no file ever takes the place of one that somebody has open (SQLite
 * would read the one's WAL with the other). Methods throw `cache_unavailable` where the file system refuses.
 */
export class CacheFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  create(): void {
    this.#guard(() => mkdirSync(this.path, { recursive: true }));
  }

  /** The name under which an entity's served file is always found. */
  linkPath(entity: string): string {
    if (!ENTITY_NAME.test(entity))
      throw new EmcacheError("bad_request", `${JSON.stringify(entity)} is no entity's name`);
    return join(this.path, `${entity}.db`);
  }

  /** Where to keep what was downloaded so far of a version's snapshot. */
  partialPath(entity: string, version: number): string {
    return join(this.path, `${entity}.v${version}.partial`);
  }

  /** A new file's path. */
  newPath(entity: string, version: number): string {
    return join(this.path, `${entity}.v${version}.${randomBytes(4).toString("hex")}.db`);
  }

  /** Path of the file that is served; null where there is none. */
  servedPath(entity: string): string | null {
    const link = this.linkPath(entity);
    return this.#guard(() => {
      if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
      const target = resolve(this.path, readlinkSync(link));
      return statSync(target, { throwIfNoEntry: false }) === undefined ? null : target;
    });
  }

  /** Lets an entity's name lead to a file, in one step: whoever opens it gets the one or the other. */
  serve(entity: string, path: string): void {
    const link = this.linkPath(entity);
    this.#guard(() => {
      const found = lstatSync(link, { throwIfNoEntry: false });
      if (found !== undefined && !found.isSymbolicLink()) {
        throw new EmcacheError("cache_unavailable", `${link} is not a link of EMCache's`, {
          hint: "Move it away: that name is the link to the entity's cache file.",
        });
      }
      const temporary = `${link}.link`;
      rmSync(temporary, { force: true });
      symlinkSync(basename(path), temporary);
      renameSync(temporary, link);
    });
  }

  /** Removes a file and what lies beside it. Whoever has it open can read it to the end. */
  remove(path: string): void {
    this.#guard(() => removeAll(path));
  }

  /**
   * Moves a damaged file to `FILE.damaged-<when>-<why>`, for whoever wants to look at it, and its link with it.
   *
   * @param reason a few letters, digits and hyphens
   */
  setAside(entity: string, path: string, reason: string): void {
    const when = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
    const aside = `${path}${ASIDE_MARK}${when}-${reason.replaceAll(/[^\w-]/g, "")}`;
    this.#guard(() => {
      if (this.servedPath(entity) === path) rmSync(this.linkPath(entity));
      for (const suffix of SUFFIXES) {
        if (statSync(path + suffix, { throwIfNoEntry: false }) !== undefined) renameSync(path + suffix, aside + suffix);
      }
      const asides = this.#filesOf(entity).filter((file) => file.includes(ASIDE_MARK) && isDatabase(file));
      asides.sort((a, b) => (a.slice(a.indexOf(ASIDE_MARK)) < b.slice(b.indexOf(ASIDE_MARK)) ? 1 : -1));
      for (const older of asides.slice(ASIDE_KEPT)) removeAll(join(this.path, older));
    });
  }

  /** Removes files that a crash left: those that no link leads to. Downloads that can go on stay, and damaged files. */
  tidy(entity: string): void {
    const served = this.servedPath(entity);
    this.#guard(() => {
      for (const file of this.#filesOf(entity)) {
        const isKept = file.includes(ASIDE_MARK) || /\.partial(?:\.json)?$/.test(file);
        const isServed = served !== null && file.startsWith(basename(served));
        if (!isKept && !isServed) rmSync(join(this.path, file), { force: true });
      }
    });
  }

  #filesOf(entity: string): string[] {
    return readdirSync(this.path).filter(
      (file) => file.startsWith(`${entity}.v`) && /^\d+\./.test(file.slice(entity.length + 2)),
    );
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (error instanceof EmcacheError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new EmcacheError("cache_unavailable", `${this.path}: ${message}`, { cause: error });
    }
  }
}

function isDatabase(file: string): boolean {
  return !SUFFIXES.some((suffix) => suffix !== "" && file.endsWith(suffix));
}

function removeAll(path: string): void {
  for (const suffix of SUFFIXES) rmSync(path + suffix, { force: true });
}
