/** Batches on their way to the worker at most; what comes beyond is read from the log. */
const BATCHES_MAX = 16;

/** Indexes of the counters. */
const WAKE = 0;
const BATCHES = 1;

/**
 * What the main thread and the worker share, so that messages between them stay few and bounded: whether a wake-up is
 * on its way, how many batches are, and how far the log goes as far as this process has heard.
 */
export class WakeWord {
  /** To be handed to the other thread, which makes its own `WakeWord` over it. */
  readonly memory: SharedArrayBuffer;
  readonly #counters: Int32Array;
  readonly #head: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(16)) {
    this.memory = memory;
    this.#counters = new Int32Array(memory, 0, 2);
    this.#head = new BigInt64Array(memory, 8, 1);
  }

  /** Main thread: a new worker begins, and no message is on its way to it. */
  reset(): void {
    Atomics.store(this.#counters, WAKE, 0);
    Atomics.store(this.#counters, BATCHES, 0);
  }

  /** Main thread: the log goes as far as `head`. Whether a wake-up has to be sent. */
  wake(head: number): boolean {
    if (BigInt(head) > Atomics.load(this.#head, 0)) Atomics.store(this.#head, 0, BigInt(head));
    return Atomics.exchange(this.#counters, WAKE, 1) === 0;
  }

  /** Main thread: whether another batch may be sent. */
  offerBatch(): boolean {
    if (Atomics.load(this.#counters, BATCHES) >= BATCHES_MAX) return false;
    Atomics.add(this.#counters, BATCHES, 1);
    return true;
  }

  /** Worker: the wake-up has arrived; the next one is another. */
  woken(): void {
    Atomics.store(this.#counters, WAKE, 0);
  }

  /** Worker: a batch that was sent is used or dropped. */
  batchDone(): void {
    Atomics.sub(this.#counters, BATCHES, 1);
  }

  /** Worker: how far the log goes as far as this process has heard. */
  get head(): number {
    return Number(Atomics.load(this.#head, 0));
  }
}
