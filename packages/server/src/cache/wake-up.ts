import type { Clock } from "../runtime/clock.ts";

/** Lets one sleeper be woken; a wake-up that comes while nobody sleeps is kept for the next sleep. Many are one. */
export class WakeUp {
  readonly #clock: Clock;
  #isPending = false;
  #resume: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wake(): void {
    this.#isPending = true;
    this.#resume?.();
  }

  /** Waits until it is woken, until `ms` have passed, or until the signal aborts; whether it was woken. */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#isPending && !signal.aborted) {
      const end = new AbortController();
      const onEnd = (): void => end.abort();
      signal.addEventListener("abort", onEnd, { once: true });
      this.#resume = onEnd;
      await this.#clock.sleep(ms, end.signal).catch(() => "woken or aborted");
      this.#resume = null;
      signal.removeEventListener("abort", onEnd);
    }
    const wasWoken = this.#isPending;
    this.#isPending = false;
    return wasWoken;
  }
}
