import { type Clock, systemClock } from "./clock.ts";

/** How `retryForever` waits and what it tells. */
export interface RetryOptions {
  /** Ends the action and the waiting. */
  readonly signal: AbortSignal;
  /** Told of each failure before the wait: the attempt's number, from 1, and how long the wait will be. */
  readonly onError: (error: unknown, attempt: number, delayMs: number) => void;
  /** Longest wait after the first failure; doubles with each further one. */
  readonly delayMsMin: number;
  /** Longest wait of all. */
  readonly delayMsMax: number;
  /** False ends the retrying: the error is thrown. Default: every error is retried. */
  readonly isRetryable?: (error: unknown) => boolean;
  /** From 0 (inclusive) to 1 (exclusive), like `Math.random`. */
  readonly random?: () => number;
  readonly clock?: Clock;
}

/**
 * Runs `action` until it succeeds, with jittered exponential backoff between the attempts: each wait is between half
 * and all of the current step, so that processes that failed together do not come back together.
 *
 * An attempt that ran for longer than `delayMsMax` counts as a recovery: the next failure is attempt 1 again.
 *
 * @throws the signal's reason once it aborts, whatever the action threw then; the action's error where it is not
 * retryable.
 */
export async function retryForever<T>(action: (signal: AbortSignal) => Promise<T>, options: RetryOptions): Promise<T> {
  const { signal, onError, delayMsMin, delayMsMax } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    const startedAtMs = clock.monotonicMs();
    try {
      return await action(signal);
    } catch (error) {
      signal.throwIfAborted();
      if (options.isRetryable?.(error) === false) throw error;
      if (clock.monotonicMs() - startedAtMs > delayMsMax) attempt = 1;
      const stepMs = Math.min(delayMsMax, delayMsMin * 2 ** (attempt - 1));
      const delayMs = Math.round(stepMs * (0.5 + random() / 2));
      onError(error, attempt, delayMs);
      await clock.sleep(delayMs, signal);
    }
  }
}
