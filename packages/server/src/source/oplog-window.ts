import { type Clock } from "../runtime/clock.ts";
import { type ClusterTime, secondOfMs } from "./cluster-time.ts";
import type { SourceConnection } from "./source-connection.ts";

/** It moves with the hours; and the question costs the source a look at one document. */
const INTERVAL_MS = 60_000;
const TIMEOUT_MS = 10_000;

/**
 * How far the source's own oplog reaches back behind the capture: for so long the capture may stand still until its
 * place in the source's history is lost and everything is copied anew.
 */
export class OplogWindow {
  #oldest: ClusterTime | null = null;

  /** Milliseconds from the oldest time that the source holds to `captured`; null where the source doesn't say. */
  leftMs(captured: ClusterTime | null): number | null {
    if (this.#oldest === null || captured === null) return null;
    return secondOfMs(captured) - secondOfMs(this.#oldest);
  }

  /** Asks from time to time until `signal` aborts. Never throws: what isn't said is not known. */
  async follow(source: SourceConnection, clock: Clock, signal: AbortSignal): Promise<void> {
    if (source.oldestOplogTime === undefined) return;
    while (!signal.aborted) {
      const until = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
      this.#oldest = await source.oldestOplogTime(until).catch(() => null);
      await clock.sleep(INTERVAL_MS, signal).catch(() => "the loop ends");
    }
  }
}
