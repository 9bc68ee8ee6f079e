import type { WaitOptions } from "./position-waiters.ts";
import type { ServerApi } from "./server-api.ts";
import { sleep } from "./sleep.ts";
import { EmcacheError } from "@emcache/protocol";

/** The server learns of a quiet source's time about once a second. */
const ASK_MS = 100;
const TIMEOUT_MS = 30_000;

/**
 * Waits until caches hold what their sources acknowledged before a time of this machine's clock.
 *
 * The server says how far its own cache may be behind the source (`lag_ms`) and where it is in the log: when that is
 * less than the time that has passed, everything acknowledged before is at or below that position. Only durations of
 * one machine are compared with each other, no clocks of two.
 */
export async function waitForTime(
  api: ServerApi,
  entities: readonly string[],
  timeMs: number,
  { signal, timeoutMs = TIMEOUT_MS }: WaitOptions,
  wait: (entity: string, position: number, options: WaitOptions) => Promise<void>,
): Promise<void> {
  const endsAtMs = performance.now() + timeoutMs;
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const timedOut = (): EmcacheError =>
    new EmcacheError(
      "wait_timed_out",
      `not within ${timeoutMs} ms: what the source had at ${new Date(timeMs).toISOString()}`,
    );
  for (const entity of entities) {
    for (;;) {
      signal?.throwIfAborted();
      if (timeout.aborted) throw timedOut();
      const askedAtMs = Date.now();
      const served = await api.entity(entity, either).catch(() => null);
      const isPast = served !== null && served.lagMs !== null && askedAtMs - served.lagMs > timeMs;
      if (isPast && served.position !== null) {
        await wait(entity, served.position, { signal, timeoutMs: Math.max(1, endsAtMs - performance.now()) });
        break;
      }
      await sleep(ASK_MS, either);
    }
  }
}
