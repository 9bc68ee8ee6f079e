import type { Clock } from "../runtime/clock.ts";
import { isAbort } from "../runtime/error-message.ts";

/** How often requests are looked for: a cache that asks has waited for longer already. */
const POLL_INTERVAL_MS = 1_000;

/** Versions whose caches, in whatever process, ask for a new copy. */
export interface CopyRequestList {
  list(signal: AbortSignal): Promise<readonly number[]>;
}

/**
 * Begins the copies that are asked for, until `signal` aborts. A request stays listed until its copy's beginning is in
 * the log; it is begun once.
 */
export async function followCopyRequests(
  requests: CopyRequestList,
  begin: (version: number) => void,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  let begun: ReadonlySet<number> = new Set();
  try {
    for (;;) {
      // An absent PostgreSQL is told by others; the requests wait in it.
      const listed = await requests.list(signal).catch(() => [...begun]);
      for (const version of listed) if (!begun.has(version)) begin(version);
      begun = new Set(listed);
      await clock.sleep(POLL_INTERVAL_MS, signal);
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error;
  }
}
