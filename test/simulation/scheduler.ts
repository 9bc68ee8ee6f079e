import type { Clock } from "../../packages/server/src/runtime/clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";

/** On whose behalf something happens: a process, which may have died meanwhile, or the network and the servers. */
export interface Party {
  readonly name: string;
  isDead: boolean;
  /** Nothing of it happens until it is thawed; what it sent arrives all the same. */
  isFrozen: boolean;
}

/** Servers and what is on its way between them and the processes: that outlives each process. */
export const OUTSIDE: Party = { name: "outside", isDead: false, isFrozen: false };

interface Step {
  readonly what: string;
  readonly party: Party;
  readonly atMs: number;
  readonly run: () => void;
}

/** Wall clock at the beginning of every run. */
const EPOCH_MS = Date.UTC(2026, 0, 1);

/**
 * Decides everything that is not decided by the code itself: which of the messages under way arrives next, and when
 * time goes on. Between two steps all that can run without waiting has run, so a seed determines a run.
 */
export class Scheduler {
  readonly random: SeededRandom;
  nowMs = 0;
  /** What happened, for whoever reads a failing run. */
  readonly trace: string[] = [];
  stepCount = 0;
  #steps: Step[] = [];

  readonly #earlyTimers: number;

  /** @param earlyTimers how often a timer that is due later goes first: messages are slower than it then, from 0 to 1 */
  constructor(seed: number, earlyTimers: number) {
    this.random = new SeededRandom(seed);
    this.#earlyTimers = earlyTimers;
  }

  /** Something that can happen from `inMs` on. Returns how to take it back. */
  add(what: string, party: Party, run: () => void, inMs = 0): () => void {
    const step: Step = { what, party, run, atMs: this.nowMs + inMs };
    this.#steps.push(step);
    return () => {
      this.#steps = this.#steps.filter((other) => other !== step);
    };
  }

  /** Waits until the scheduler lets it go on; rejects with the signal's reason when that aborts. */
  turn(what: string, party: Party, { inMs = 0, signal }: { inMs?: number; signal?: AbortSignal } = {}): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return promise;
    }
    const onAbort = (): void => {
      takeBack();
      reject(signal?.reason as Error);
    };
    const takeBack = this.add(
      what,
      party,
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      inMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    return promise;
  }

  /** The clock of a process. */
  clockOf(party: Party): Clock {
    return {
      nowMs: () => EPOCH_MS + this.nowMs,
      monotonicMs: () => this.nowMs,
      sleep: (ms, signal) => this.turn("timer", party, { inMs: ms, signal }),
    };
  }

  /** One thing happens; false where nothing is left that could. */
  async step(): Promise<boolean> {
    await settled();
    this.#steps = this.#steps.filter(({ party }) => !party.isDead);
    const possible = this.#steps.filter(({ party }) => !party.isFrozen);
    const due = possible.filter(({ atMs }) => atMs <= this.nowMs);
    const isEarly = due.length === 0 || this.random.next() < this.#earlyTimers;
    const step = isEarly ? earliestOf(possible, this.nowMs) : this.random.pick(due);
    if (step === undefined) return false;
    this.#steps.splice(this.#steps.indexOf(step), 1);
    this.nowMs = Math.max(this.nowMs, step.atMs);
    this.stepCount += 1;
    this.note(`${step.party.name}: ${step.what}`);
    step.run();
    await settled();
    return true;
  }

  note(text: string): void {
    this.trace.push(`${this.nowMs.toFixed(0).padStart(7)} ${text}`);
    if (this.trace.length > 4_000) this.trace.splice(0, 2_000);
  }
}

/** The next that is not due yet, else of those that are. */
function earliestOf(steps: readonly Step[], nowMs: number): Step | undefined {
  const later = steps.filter(({ atMs }) => atMs > nowMs);
  return (later.length === 0 ? steps : later).toSorted((a, b) => a.atMs - b.atMs)[0];
}

/** Resolves when everything that can run without waiting has run: nothing in a simulated run waits for the machine. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
