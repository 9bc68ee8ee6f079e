import { EmcacheError } from "@emcache/protocol";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ShelvedFile } from "./snapshot-shelf.ts";

/** A file that was made is kept so long after its last use: a download that broke can go on. */
const KEPT_MS = 10 * 60 * 1000;
/** One at a time: each reads and writes as fast as the disk and a CPU can. */
const CONCURRENT_MAX = 1;
/** Further requests that wait for their turn. */
const WAITING_MAX = 8;

interface Kept {
  readonly path: string;
  /** While it is being made: what it is expected to take. */
  bytes: number;
  isMade: boolean;
  usedAtMs: number;
  readonly file: Promise<ShelvedFile>;
}

/**
 * Files that are made when they are asked for: a point in time, a snapshot out of object storage. Requests for the
 * same one share its making; it is kept for a while. Disk, concurrency and the queue are bounded.
 */
export class RequestFiles {
  readonly #folder: string;
  readonly #bytesMax: number;
  readonly #nowMs: () => number;
  readonly #kept = new Map<string, Kept>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #serial = 0;

  constructor(folder: string, bytesMax: number, nowMs: () => number) {
    this.#folder = folder;
    this.#bytesMax = bytesMax;
    this.#nowMs = nowMs;
  }

  /** Removes what an earlier process left. */
  async start(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  /**
   * @param key names what is asked for
   * @param bytes what the making needs on disk, as far as is known before
   * @param make writes the file at the path that it is given
   * @throws `restore_refused` where disk or queue are full
   */
  async get(key: string, bytes: number, make: (path: string) => Promise<ShelvedFile>): Promise<ShelvedFile> {
    await this.sweep();
    const known = this.#kept.get(key);
    if (known !== undefined) {
      known.usedAtMs = this.#nowMs();
      return known.file;
    }
    await this.#makeRoom(bytes);
    const again = this.#kept.get(key);
    if (again !== undefined) return again.file;
    const path = join(this.#folder, `${++this.#serial}.db`);
    const kept: Kept = {
      path,
      bytes,
      isMade: false,
      usedAtMs: this.#nowMs(),
      file: this.#inTurn(async () => {
        await mkdir(this.#folder, { recursive: true });
        return make(path);
      }),
    };
    this.#kept.set(key, kept);
    try {
      const file = await kept.file;
      kept.bytes = file.forms.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      kept.isMade = true;
      kept.usedAtMs = this.#nowMs();
      return file;
    } catch (error) {
      this.#kept.delete(key);
      await rm(path, { force: true });
      throw error;
    }
  }

  /** Forgets a file that is not what was made, so that the next request makes it anew. */
  async forget(path: string): Promise<void> {
    for (const [key, kept] of this.#kept) if (kept.path === path) await this.#remove(key, kept);
  }

  /** Removes what nobody used for a while. */
  async sweep(): Promise<void> {
    const before = this.#nowMs() - KEPT_MS;
    for (const [key, kept] of this.#kept) if (kept.isMade && kept.usedAtMs < before) await this.#remove(key, kept);
  }

  async #makeRoom(bytes: number): Promise<void> {
    const idle = [...this.#kept].filter(([, { isMade }]) => isMade).sort(([, a], [, b]) => a.usedAtMs - b.usedAtMs);
    while (this.#usedBytes() + bytes > this.#bytesMax) {
      const oldest = idle.shift();
      if (oldest === undefined) {
        throw new EmcacheError(
          "restore_refused",
          `It needs ${bytes} bytes of disk; ${this.#usedBytes()} of ${this.#bytesMax} are in use`,
        );
      }
      await this.#remove(...oldest);
    }
  }

  #usedBytes(): number {
    return [...this.#kept.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** A file that is being sent stays readable: it is open. */
  async #remove(key: string, { path }: Kept): Promise<void> {
    this.#kept.delete(key);
    await rm(path, { force: true });
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= CONCURRENT_MAX) {
      if (this.#waiting.length >= WAITING_MAX) {
        throw new EmcacheError("restore_refused", `${WAITING_MAX} requests wait for a file to be made already`);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}
