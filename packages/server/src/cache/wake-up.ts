/** Lets one sleeper be woken; a wake-up that comes while nobody sleeps is kept for the next sleep. Many are one. */
export class WakeUp {
  #isPending = false;
  #resume: (() => void) | null = null;

  wake(): void {
    this.#isPending = true;
    this.#resume?.();
  }

  /** Waits until it is woken, until `ms` have passed, or until the signal aborts; whether it was woken. */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isPending && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      const onAbort = (): void => resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      this.#resume = resolve;
      await promise;
      this.#resume = null;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
    const wasWoken = this.#isPending;
    this.#isPending = false;
    return wasWoken;
  }
}
