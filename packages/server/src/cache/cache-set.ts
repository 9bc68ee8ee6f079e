import { readCacheState } from "@emcache/cache-file";
import type { Entity } from "@emcache/protocol";
import { CacheSlot, type SlotContext } from "./cache-slot.ts";
import { toProblemLike } from "./cache-status.ts";

/** One version of an entity, as the registry lists it. */
export interface CacheRecord {
  readonly entity: Entity;
  readonly state: "pending" | "live" | "retired";
}

/** Memory for SQLite's pages of all caches together; one cache uses 64 MiB at most. */
const CACHE_BYTES_MAX = 256 * 1024 * 1024;
const CACHE_BYTES_MAX_EACH = 64 * 1024 * 1024;
/** Below this SQLite reads inner pages of its trees again and again. */
const CACHE_BYTES_MIN_EACH = 2 * 1024 * 1024;

/**
 * The caches of this process, and which of them each name's link leads to.
 *
 * A link leads to the live version once that has data; until then to whatever it led to before (the version that is
 * being replaced, which stays and is fed), and before an entity's first copy is complete, to the file that is being
 * filled. A live version that is filled anew (its file was damaged, or this machine is new) has no link meanwhile: no
 * file is better than an empty one. An entity that is not listed any more loses its files and its link at once.
 */
export class CacheSet {
  readonly #context: SlotContext;
  readonly #slots = new Map<number, CacheSlot>();
  #records: readonly CacheRecord[] = [];

  constructor(context: SlotContext) {
    this.#context = context;
  }

  slots(): CacheSlot[] {
    return [...this.#slots.values()];
  }

  /** Takes the registry's list: makes slots for new versions, removes those of entities that are gone. */
  setRecords(records: readonly CacheRecord[]): void {
    this.#records = records.filter((record) => record.state !== "retired");
    for (const { entity, state } of this.#records) {
      const slot = this.#slots.get(entity.id) ?? new CacheSlot(entity, state === "live", this.#context);
      slot.isLive = state === "live";
      this.#slots.set(entity.id, slot);
    }
    // What a live version replaces is let go of by `relink`, once the link has moved.
    for (const slot of this.slots()) if (this.#isGone(slot)) this.#remove(slot);
    const bytes = Math.min(CACHE_BYTES_MAX_EACH, CACHE_BYTES_MAX / Math.max(1, this.#slots.size));
    for (const slot of this.#slots.values()) slot.setCacheBytesMax(Math.max(CACHE_BYTES_MIN_EACH, bytes));
  }

  /** Brings links in line with which caches have data, and lets go of versions that were replaced. */
  relink(): void {
    for (const name of new Set(this.#records.map((record) => record.entity.name))) {
      try {
        this.#relinkName(name);
      } catch (error) {
        for (const slot of this.#slotsOf(name)) slot.fail(error);
      }
    }
  }

  /**
   * Removes files and links that no listed entity has any more: those of entities that were deleted while this
   * process was down. A file of another log stays: whoever mixed up two configurations gets it back.
   */
  removeOrphans(logId: string): void {
    const { directory, report } = this.#context;
    const names = new Set(this.#records.map((record) => record.entity.name));
    try {
      for (const file of directory.list()) {
        const isListed =
          this.#slots.has(file.version) || (names.has(file.name) && !this.#isUnlinked(file.name, file.path));
        if (isListed || !isOfLog(file.path, logId)) continue;
        directory.remove(file.path);
        report.line(
          "info",
          "cache_removed",
          { path: file.path },
          "Removed the cache file of an entity version that is gone",
        );
      }
      for (const name of directory.linkedNames()) {
        if (!names.has(name) && directory.linkTarget(name) === null) directory.unlink(name);
      }
    } catch (error) {
      report.line("warn", "cache_cleanup_failed", {}, toProblemLike(error).detail);
    }
  }

  get records(): readonly CacheRecord[] {
    return this.#records;
  }

  /** Lets go of all caches, because the log is another one: nobody is led to them any more, and their files stay. */
  abandon(): void {
    const { directory, report } = this.#context;
    for (const slot of this.slots()) {
      slot.close();
      try {
        if (directory.linkTarget(slot.entity.name) === slot.path) directory.unlink(slot.entity.name);
      } catch (error) {
        report.line("warn", "cache_cleanup_failed", { path: slot.path }, toProblemLike(error).detail);
      }
    }
    this.#slots.clear();
    this.#records = [];
  }

  closeAll(): void {
    for (const slot of this.#slots.values()) slot.close();
  }

  /** Whether a file is not what its name's link leads to, so that nobody is served from it. */
  #isUnlinked(name: string, path: string): boolean {
    const target = this.#context.directory.linkTarget(name);
    return target !== null && target !== path;
  }

  #slotsOf(name: string): CacheSlot[] {
    return this.slots().filter((slot) => slot.entity.name === name);
  }

  #recordOf(slot: CacheSlot): CacheRecord | undefined {
    return this.#records.find((record) => record.entity.id === slot.version);
  }

  /** The version of a name that the registry serves. */
  #liveOf(name: string): CacheSlot | undefined {
    return this.#slotsOf(name).find((slot) => slot.isLive && this.#recordOf(slot) !== undefined);
  }

  /** Whether the slot's entity was deleted: no version is listed that replaces it. */
  #isGone(slot: CacheSlot): boolean {
    return this.#recordOf(slot) === undefined && this.#liveOf(slot.entity.name) === undefined;
  }

  /** Whether the slot's version was retired and what replaces it has data, so that nobody needs it any more. */
  #isReplaced(slot: CacheSlot): boolean {
    if (this.#recordOf(slot) !== undefined) return false;
    return !slot.hasData || this.#liveOf(slot.entity.name)?.hasData === true;
  }

  #relinkName(name: string): void {
    const { directory } = this.#context;
    const live = this.#liveOf(name);
    const target = directory.linkTarget(name);
    const first = this.#slotsOf(name).find((slot) => slot.isOpen && (slot.hasData || !slot.isLive));
    const serves = live?.hasData === true ? live : target === null ? first : undefined;
    if (serves !== undefined && serves.path !== target) {
      directory.link(serves.entity);
      this.#context.report.line(
        "info",
        "cache_linked",
        { version: serves.version, path: serves.path },
        `${name}.db leads to it now`,
      );
    }
    for (const slot of this.#slotsOf(name)) if (this.#isReplaced(slot)) this.#remove(slot);
  }

  #remove(slot: CacheSlot): void {
    const { directory, report } = this.#context;
    this.#slots.delete(slot.version);
    slot.close();
    try {
      if (directory.linkTarget(slot.entity.name) === slot.path) directory.unlink(slot.entity.name);
      directory.remove(slot.path);
      report.line("info", "cache_removed", { version: slot.version, path: slot.path }, "Removed a cache");
    } catch (error) {
      report.line("warn", "cache_cleanup_failed", { path: slot.path }, toProblemLike(error).detail);
    }
  }
}

/** Whether a file says that it follows this log; one that can't be read is nobody's. */
function isOfLog(path: string, logId: string): boolean {
  try {
    return readCacheState(path).logId === logId;
  } catch {
    return false;
  }
}
