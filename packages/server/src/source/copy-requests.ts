import type { Clock } from "../runtime/clock.ts";
import { isAbort } from "../runtime/error-message.ts";

/** How often requests are looked for: a cache that asks has waited for longer already. */
const POLL_INTERVAL_MS = 1_000;

/** Versions whose caches, in whatever process, ask for a new copy. */
export interface CopyRequestList {
  list(signal: AbortSignal): Promise<readonly number[]>;
}

/** Begins a version's copy: whether it could, and when its beginning is in the log. */
export type BeginCopy = (version: number, onLogged: () => void) => boolean;

/**
 * Begins the copies that are asked for, until `signal` aborts. A request stays listed until its copy's beginning is in
 * the log; it is begun once. One that is listed by a question sent after that is another.
 */
export async function followCopyRequests(
  requests: CopyRequestList,
  begin: BeginCopy,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const begun = new Set<number>();
  try {
    for (;;) {
      const begunBefore = new Set(begun);
      // An absent PostgreSQL is told by others; the requests wait in it.
      const listed = await requests.list(signal).catch((): readonly number[] => []);
      for (const version of listed) {
        if (!begunBefore.has(version) && begin(version, () => begun.delete(version))) begun.add(version);
      }
      await clock.sleep(POLL_INTERVAL_MS, signal);
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error;
  }
}
