/** The first wait, and the longest. */
const DELAY_MS_MIN = 100;
const DELAY_MS_MAX = 10_000;

/** A server may ask for more patience than ours, up to this. */
const ASKED_MS_MAX = 60_000;

/** How long to wait after each failure in a row: doubling, between half and all of it at random. */
export class Backoff {
  #failures = 0;

  /** @param askedMs what the server asked for by `retry-after`, 0 if nothing */
  nextMs(askedMs = 0): number {
    const stepMs = Math.min(DELAY_MS_MAX, DELAY_MS_MIN * 2 ** Math.min(this.#failures, 20));
    this.#failures += 1;
    return Math.max(Math.min(askedMs, ASKED_MS_MAX), Math.round(stepMs * (0.5 + Math.random() / 2)));
  }

  reset(): void {
    this.#failures = 0;
  }
}
