import type { Oplog } from "./oplog.ts";

/** Waits, one wait at a time, for something new in the oplog. */
export class NewsWait {
  #wake: (() => void) | null = null;

  /** Resolves after an append, after `waitMs`, when `signal` aborts or when `end` is called. */
  async wait(oplog: Oplog, waitMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const stopListening = oplog.onAppend(resolve);
    const onAbort = (): void => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
    stopListening();
    signal.removeEventListener("abort", onAbort);
    this.#wake = null;
  }

  /** Ends a wait that is under way. */
  end(): void {
    this.#wake?.();
  }
}
