import type { Clock } from "../runtime/clock.ts";

/** Keeps all copies of a source together below a number of documents a second. */
export class CopyPace {
  readonly #settings: { readonly rowsPerSMax: number };
  readonly #clock: Clock;
  #freeAtMs = -Infinity;

  /** @param settings read each time: the limit may be changed while copies run */
  constructor(settings: { readonly rowsPerSMax: number }, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  /** Documents a second; 0 for no limit. */
  get rowsPerSMax(): number {
    return this.#settings.rowsPerSMax;
  }

  /** Waits until the documents that were read have had their time; who comes later waits for that too. */
  async spend(rowCount: number, signal: AbortSignal): Promise<void> {
    if (this.rowsPerSMax === 0 || rowCount === 0) return;
    const nowMs = this.#clock.monotonicMs();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (rowCount / this.rowsPerSMax) * 1000;
    await this.#clock.sleep(this.#freeAtMs - nowMs, signal);
  }
}
