import type { CacheStatus } from "./cache-status.ts";

interface Waiter {
  readonly position: number;
  readonly version: number | null;
  readonly resolve: () => void;
}

/** Those who wait until caches have applied a position. */
export class PositionWaiters {
  readonly #waiters = new Set<Waiter>();
  #statuses: ReadonlyMap<number, CacheStatus> = new Map();
  #versions: readonly number[] = [];

  /** Tells which versions have caches, or will have. */
  setVersions(versions: readonly number[]): void {
    this.#versions = versions;
  }

  /** Tells of the caches' positions. */
  update(statuses: ReadonlyMap<number, CacheStatus>): void {
    this.#statuses = statuses;
    for (const waiter of this.#waiters) if (this.#isReached(waiter)) waiter.resolve();
  }

  /** Resolves once the version's cache, or every cache, has applied the position; rejects with the signal's reason. */
  async wait(position: number, version: number | null, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { position, version, resolve };
    if (this.#isReached(waiter)) return;
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiters.add(waiter);
    try {
      await promise;
    } finally {
      this.#waiters.delete(waiter);
      signal.removeEventListener("abort", onAbort);
    }
  }

  #isReached({ position, version }: Waiter): boolean {
    const versions = version === null ? this.#versions : [version];
    return versions.every((each) => {
      const status = this.#statuses.get(each);
      return status !== undefined && status.isVerified && status.position >= position;
    });
  }
}
