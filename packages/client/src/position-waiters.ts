import { EmcacheError } from "@emcache/protocol";

/** How a wait ends, besides by its end. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default 30,000. */
  readonly timeoutMs?: number | undefined;
}

const TIMEOUT_MS = 30_000;

interface Waiter {
  readonly isOver: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Those who wait for the caches to get somewhere. What `isOver` throws ends the wait. */
export class PositionWaiters {
  readonly #waiters = new Set<Waiter>();

  /** Waits until `isOver`. Throws `wait_timed_out`, what `fail` is told, and the signal's reason. */
  async wait(
    isOver: () => boolean,
    what: () => string,
    { signal, timeoutMs = TIMEOUT_MS }: WaitOptions,
  ): Promise<void> {
    signal?.throwIfAborted();
    if (isOver()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { isOver, resolve, reject };
    this.#waiters.add(waiter);
    const onAbort = (): void => reject(signal?.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = setTimeout(() => {
      reject(new EmcacheError("wait_timed_out", `not within ${timeoutMs} ms: ${what()}`));
    }, timeoutMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      this.#waiters.delete(waiter);
    }
  }

  /** To be called whenever a cache got further. */
  moved(): void {
    for (const waiter of this.#waiters) {
      try {
        if (waiter.isOver()) waiter.resolve();
      } catch (error) {
        waiter.reject(error);
      }
    }
  }

  fail(error: unknown): void {
    for (const waiter of this.#waiters) waiter.reject(error);
  }
}
