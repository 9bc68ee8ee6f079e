import type { LogNetwork } from "../../packages/server/src/oplog/testing/log-network.ts";
import { OUTSIDE, type Party, type Scheduler } from "./scheduler.ts";

/** What can happen to a message to the log. */
export type LogFault = "lost" | "answer_lost" | "held";

/** How long a message that is held back may be on its way. */
const HELD_MS_MAX = 5_000;

/** Faults that wait for the next messages of a kind. */
export class LogFaults {
  readonly #next: { readonly what: string; readonly fault: LogFault }[] = [];

  add(what: string, fault: LogFault): void {
    this.#next.push({ what, fault });
  }

  take(what: string): LogFault | null {
    const index = this.#next.findIndex((fault) => fault.what === what);
    return index < 0 ? null : (this.#next.splice(index, 1)[0]?.fault ?? null);
  }

  clear(): void {
    this.#next.length = 0;
  }
}

/**
 * The way of a process's messages to the log: each arrives when the scheduler says so, which may be after the process
 * has died or has been told that the connection broke.
 */
export class ModelLogNetwork implements LogNetwork {
  readonly #scheduler: Scheduler;
  readonly #party: Party;
  readonly #faults: LogFaults;

  constructor(scheduler: Scheduler, party: Party, faults: LogFaults) {
    this.#scheduler = scheduler;
    this.#party = party;
    this.#faults = faults;
  }

  async call<T>(what: string, execute: () => T, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const fault = this.#faults.take(what);
    const heldMs = fault === "held" ? this.#scheduler.random.integer(0, HELD_MS_MAX) : 0;
    const outcome = Promise.withResolvers<{ readonly result: T } | { readonly refusal: unknown }>();
    if (fault !== "lost") {
      const arrive = (): void => {
        try {
          outcome.resolve({ result: execute() });
        } catch (refusal) {
          outcome.resolve({ refusal });
        }
      };
      this.#scheduler.add(`${this.#party.name}'s ${what} arrives`, OUTSIDE, arrive, heldMs);
    }
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => "seen where it is waited for");
    const onAbort = (): void => aborted.reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (fault === "answer_lost") await Promise.race([outcome.promise, aborted.promise]);
      if (fault !== null) {
        await this.#scheduler.turn(`the connection of ${what} breaks`, this.#party, { signal });
        throw new Error("the connection broke");
      }
      const answer = await Promise.race([outcome.promise, aborted.promise]);
      await this.#scheduler.turn(`the answer to ${what}`, this.#party, { signal });
      if ("refusal" in answer) throw answer.refusal;
      return answer.result;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}
