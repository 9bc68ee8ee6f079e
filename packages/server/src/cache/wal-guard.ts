import type { CacheFile } from "@emcache/cache-file";
import { EmcacheError } from "@emcache/protocol";

/**
 * Keeps a WAL from growing without end: a reader that keeps an old state open makes checkpoints useless. Beyond the
 * limit (and twice the file's size, because a switch alone may write as much as the table) the cache stops until the
 * reader is gone; readers that come meanwhile see the state of then.
 */
export class WalGuard {
  readonly #walBytesMax: number;
  isBlocked = false;

  constructor(walBytesMax: number) {
    this.#walBytesMax = walBytesMax;
  }

  /** Throws `cache_unavailable` where the WAL is over its limit and can't be emptied. */
  check(file: CacheFile): void {
    const walBytes = file.walBytes();
    const limit = Math.max(this.#walBytesMax, 2 * (file.sizeBytes() - walBytes));
    if (walBytes > limit) {
      const result = file.checkpoint();
      this.isBlocked = result.isBlocked && result.walBytes > limit;
    } else {
      this.isBlocked = false;
    }
    if (!this.isBlocked) return;
    throw new EmcacheError("cache_unavailable", `${file.path}-wal has ${walBytes} bytes and can't be emptied`, {
      hint: `A program keeps a read transaction open on ${file.path}: end it (fuser or lsof name it). The cache goes on then.`,
      details: { path: file.path, wal_bytes: walBytes },
    });
  }
}
