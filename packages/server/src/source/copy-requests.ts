import type { Clock } from "../runtime/clock.ts";
import { isAbort } from "../runtime/error-message.ts";

/** How often requests are looked for: a cache that asks has waited for longer already. */
const POLL_INTERVAL_MS = 1_000;

/** What other parts, in whatever process, want of the copies. */
export interface CopyRequestList {
  /** Versions that a cache or an operator wants copied anew. */
  list(signal: AbortSignal): Promise<readonly number[]>;
  /** Names of the entities whose copies rest. Absent: none ever. */
  paused?(signal: AbortSignal): Promise<readonly string[]>;
}

/** Begins a version's copy: whether it could, and when its beginning is in the log. */
export type BeginCopy = (version: number, onLogged: () => void) => boolean;

/** Who carries the wishes out. */
interface CopyOrders {
  readonly begin: BeginCopy;
  readonly onPaused: (entityNames: ReadonlySet<string>) => void;
}

/**
 * Begins the copies that are asked for and rests those that are to rest, until `signal` aborts. A request stays listed until its copy's beginning is in
 * the log; it is begun once. One that is listed by a question sent after that is another.
 */
export async function followCopyRequests(
  requests: CopyRequestList,
  { begin, onPaused }: CopyOrders,
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
      // Until it is known which are to rest, none starts.
      const paused = requests.paused === undefined ? [] : await requests.paused(signal).catch(() => null);
      if (paused !== null) onPaused(new Set(paused));
      await clock.sleep(POLL_INTERVAL_MS, signal);
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error;
  }
}
