import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import { clusterHome } from "../oplog/cluster-home.ts";
import { DataDirectoryLock } from "../oplog/data-directory-lock.ts";
import { clearLeftServer } from "../oplog/postmaster-process.ts";
import { messageOf } from "../runtime/error-message.ts";

const PREFIX = "emcache-demo-";
const NOTE = "demo.json";
/** A new PostgreSQL takes 60 MB, each of the three caches up to 64 MB of WAL; the rest is the log of some hours. */
const FREE_BYTES_MIN = 600_000_000;

/** What a running demo tells others about itself. */
export interface DemoNote {
  readonly pid: number;
  readonly address: string;
}

/** Where a demo keeps everything. It holds a lock as long as it lives, so that others can tell it from a dead one's. */
export class DemoFolder {
  readonly path: string;
  /** Whether it goes when the demo ends. */
  readonly isTemporary: boolean;
  readonly #lock: DataDirectoryLock;

  private constructor(path: string, isTemporary: boolean, lock: DataDirectoryLock) {
    this.path = path;
    this.isTemporary = isTemporary;
    this.#lock = lock;
  }

  /**
   * Makes one among the temporary files, or takes the one that the user named.
   * @throws EmcacheError `demo_failed` where there is no room, or another demo is in it.
   */
  static make(wanted: string | null): DemoFolder {
    try {
      const path = wanted === null ? mkdtempSync(join(tmpdir(), PREFIX)) : resolve(wanted);
      mkdirSync(path, { recursive: true });
      // PostgreSQL's user has to get through, where we are root.
      if (wanted === null) chmodSync(path, 0o755);
      requireRoom(path, wanted === null);
      return new DemoFolder(path, wanted === null, lockOf(path));
    } catch (error) {
      if (error instanceof EmcacheError) throw error;
      throw noFolder(`The demo can't make its folder: ${messageOf(error)}`, error);
    }
  }

  get dataDir(): string {
    return join(this.path, "data");
  }

  get cacheDir(): string {
    return join(this.path, "caches");
  }

  get logFile(): string {
    return join(this.path, "emcache.log");
  }

  /** For demos that are started later. */
  announce(address: string): void {
    writeFileSync(join(this.path, NOTE), JSON.stringify({ pid: process.pid, address } satisfies DemoNote));
  }

  /** Ends whatever is left of the embedded server, and removes the folder if it is temporary. */
  async close(): Promise<void> {
    await clearLeftServer(clusterHome(this.dataDir).clusterDir, AbortSignal.timeout(60_000)).catch(() => undefined);
    if (this.isTemporary) rmSync(this.path, { recursive: true, force: true, maxRetries: 5 });
    else rmSync(join(this.path, NOTE), { force: true });
    this.#lock.release();
  }
}

/**
 * Looks at the temporary folders of other demos: those of dead ones are removed, with the PostgreSQL that such a one
 * left behind.
 * @returns the demos that still run, and how many folders were removed.
 */
export async function visitOtherDemos(own: DemoFolder): Promise<{ running: DemoNote[]; removed: number }> {
  const running: DemoNote[] = [];
  let removed = 0;
  for (const name of readdirSync(tmpdir())) {
    const path = join(tmpdir(), name);
    if (!name.startsWith(PREFIX) || path === own.path || !isOurs(path)) continue;
    const note = readNote(path);
    // One without a note is only just beginning, or ended before it did anything.
    if (note === null && Date.now() - statSync(path).mtimeMs < 600_000) continue;
    try {
      const lock = DataDirectoryLock.acquire(path);
      await clearLeftServer(clusterHome(join(path, "data")).clusterDir, AbortSignal.timeout(60_000));
      rmSync(path, { recursive: true, force: true, maxRetries: 5 });
      lock.release();
      removed += 1;
    } catch {
      if (note !== null) running.push(note);
    }
  }
  return { running, removed };
}

function lockOf(path: string): DataDirectoryLock {
  try {
    return DataDirectoryLock.acquire(path);
  } catch (error) {
    const note = readNote(path);
    const who = note === null ? "" : `: process ${note.pid}, ${note.address}`;
    throw new EmcacheError("demo_failed", `Another demo is running in ${path}${who}`, {
      hint: "Stop it with Ctrl+C in its terminal, or give this one another --data-dir.",
      cause: error,
    });
  }
}

function requireRoom(path: string, isTemporary: boolean): void {
  const { bavail, bsize } = statfsSync(path);
  const freeBytes = bavail * bsize;
  if (freeBytes >= FREE_BYTES_MIN) return;
  if (isTemporary) rmSync(path, { recursive: true, force: true });
  throw noFolder(
    `Only ${Math.floor(freeBytes / 1e6)} MB are free in ${path}; the demo needs ${FREE_BYTES_MIN / 1e6} MB`,
  );
}

function noFolder(words: string, cause?: unknown): EmcacheError {
  return new EmcacheError("demo_failed", words, {
    hint: "Give it a folder on another disk by --data-dir FOLDER, or set TMPDIR.",
    cause,
  });
}

function isOurs(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === (process.getuid?.() ?? found.uid);
}

function readNote(path: string): DemoNote | null {
  try {
    return JSON.parse(readFileSync(join(path, NOTE), "utf8")) as DemoNote;
  } catch {
    return null;
  }
}
