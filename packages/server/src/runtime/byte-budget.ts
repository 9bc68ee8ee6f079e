/** Who asks for memory: what comes down a change stream, or what a copy reads. */
export type BudgetShare = "stream" | "copy";

export interface ByteBudgetOptions {
  /** All that may be held at once. */
  readonly bytesMax: number;
  /** The part of it that copies can't take. */
  readonly reservedBytes: number;
}

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

/**
 * A bound on the bytes that a process holds on their way into the oplog (invariant 10).
 *
 * First come, first served within a share. Copies wait for the stream to pass them while they hold memory, so nothing
 * a copy does may stop a stream: copies get at most `bytesMax - reservedBytes`. Streams may borrow what copies leave
 * unused, but not while a copy waits, so neither starves the other. An item larger than its whole share is admitted
 * when its share holds nothing else; the bound is therefore `bytesMax` plus one such item a share.
 */
export class ByteBudget {
  readonly #bytesMax: number;
  readonly #reservedBytes: number;
  readonly #used: Record<BudgetShare, number> = { stream: 0, copy: 0 };
  readonly #waiting: Record<BudgetShare, Set<Waiter>> = { stream: new Set(), copy: new Set() };

  constructor({ bytesMax, reservedBytes }: ByteBudgetOptions) {
    if (!(reservedBytes >= 0 && reservedBytes <= bytesMax)) {
      throw new RangeError(`reservedBytes ${reservedBytes} must lie between 0 and bytesMax ${bytesMax}`);
    }
    this.#bytesMax = bytesMax;
    this.#reservedBytes = reservedBytes;
  }

  get bytesMax(): number {
    return this.#bytesMax;
  }

  get usedBytes(): number {
    return this.#used.stream + this.#used.copy;
  }

  /**
   * Resolves once `bytes` may be held, to the function that gives them back; calling that twice does no harm.
   *
   * @throws the signal's reason when it aborts before; nothing is held then.
   */
  acquire(bytes: number, { share, signal }: { share: BudgetShare; signal: AbortSignal }): Promise<() => void> {
    if (!(bytes >= 0)) throw new RangeError(`bytes must not be negative, but is ${bytes}`);
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const queue = this.#waiting[share];
    if (queue.size === 0 && this.#fits(bytes, share)) return Promise.resolve(this.#take(bytes, share));
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        admit: () => {
          signal.removeEventListener("abort", onAbort);
          resolve(this.#take(bytes, share));
        },
      };
      const onAbort = (): void => {
        queue.delete(waiter);
        reject(signal.reason as Error);
        // The one behind it may be smaller, and a stream may borrow again once no copy waits.
        this.#admitWaiting();
      };
      signal.addEventListener("abort", onAbort, { once: true });
      queue.add(waiter);
    });
  }

  #fits(bytes: number, share: BudgetShare): boolean {
    const held = this.#used[share];
    if (share === "stream") {
      if (held === 0 || held + bytes <= this.#reservedBytes) return true;
      return this.#waiting.copy.size === 0 && this.usedBytes + bytes <= this.#bytesMax;
    }
    const streamWithinReserve = this.#used.stream <= this.#reservedBytes;
    if (held === 0 && streamWithinReserve) return true;
    return held + bytes <= this.#bytesMax - this.#reservedBytes && this.usedBytes + bytes <= this.#bytesMax;
  }

  #take(bytes: number, share: BudgetShare): () => void {
    this.#used[share] += bytes;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#used[share] -= bytes;
      this.#admitWaiting();
    };
  }

  #admitWaiting(): void {
    for (const share of ["stream", "copy"] as const) {
      for (const waiter of this.#waiting[share]) {
        if (!this.#fits(waiter.bytes, share)) break;
        this.#waiting[share].delete(waiter);
        waiter.admit();
      }
    }
  }
}
