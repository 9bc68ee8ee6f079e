const DELAY_MS_MIN = 200;
const DELAY_MS_MAX = 10_000;

/** When to try something again that failed: after a doubling wait, jittered, so that caches don't come back together. */
export class Backoff {
  #attempt = 0;
  #dueAtMs = 0;

  /** Monotonic ms from which the next attempt may be made; 0 where nothing failed. */
  get dueAtMs(): number {
    return this.#dueAtMs;
  }

  failed(nowMs: number): void {
    const stepMs = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#dueAtMs = nowMs + stepMs * (0.5 + Math.random() / 2);
  }

  succeeded(): void {
    this.#attempt = 0;
    this.#dueAtMs = 0;
  }
}
