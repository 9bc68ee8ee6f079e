import { sleep } from "./sleep.ts";

/** Time as the parts see it, so that a test can bring its own. */
export interface Clock {
  /** Wall clock: milliseconds since 1970. May jump; only for what is shown or stored. */
  nowMs(): number;
  /** Milliseconds since some start; never jumps. For every measured duration and deadline. */
  monotonicMs(): number;
  /** Waits; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep,
};
