import { EmcacheError } from "@emcache/protocol";
import { ANSWER_BYTES_MAX } from "./read-log.ts";
import type { LogRead } from "./log-read.ts";
import type { LogTail } from "./log-tail.ts";

/**
 * How a wait ended: with rows; because its time was over or it was released; or because the tail it waited at is no
 * more, so that the reader has to look where it stands.
 */
export type WaitEnd = { readonly kind: "rows"; readonly read: LogRead } | { readonly kind: "nothing" | "lost" };

interface Waiter {
  readonly end: (how: WaitEnd) => void;
  readonly fail: (error: unknown) => void;
}

/** Those who wait for the same get the same answer, one object. */
interface Group {
  readonly versions: ReadonlySet<number>;
  readonly limit: number;
  readonly waiters: Set<Waiter>;
}

/** What somebody waits for: the first rows of these versions after the tail's end as it is now. */
export interface Wait {
  /** Ascending. */
  readonly versions: readonly number[];
  readonly limit: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** All who wait at the end of the log's tail. */
export class LogWaiters {
  readonly #countMax: number;
  readonly #groups = new Map<string, Group>();
  #count = 0;
  #isClosed = false;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether nobody may wait any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws EmcacheError `overloaded`; the error of `fail`; the signal's reason */
  async wait({ versions, limit, timeoutMs, signal }: Wait): Promise<WaitEnd> {
    signal.throwIfAborted();
    if (this.#isClosed) return { kind: "nothing" };
    if (this.#count >= this.#countMax) {
      throw new EmcacheError("overloaded", `${this.#countMax} readers are waiting for the log already`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<WaitEnd>();
    const waiter: Waiter = { end: resolve, fail: reject };
    const key = `${limit} ${versions.join(",")}`;
    const group = this.#groups.get(key) ?? { versions: new Set(versions), limit, waiters: new Set() };
    this.#groups.set(key, group);
    group.waiters.add(waiter);
    this.#count++;
    const timer = setTimeout(() => resolve({ kind: "nothing" }), timeoutMs);
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      this.#count--;
      group.waiters.delete(waiter);
      if (group.waiters.size === 0 && this.#groups.get(key) === group) this.#groups.delete(key);
    }
  }

  /** Deals what the tail took after `from` to those who wait for it. */
  deal(tail: LogTail, from: number): void {
    for (const [key, group] of this.#groups) {
      const read = tail.read({ ...group, after: from, bytesMax: ANSWER_BYTES_MAX });
      if (read.rows.length === 0) continue;
      this.#groups.delete(key);
      for (const waiter of group.waiters) waiter.end({ kind: "rows", read });
    }
  }

  /** Ends the waits for any of these versions. */
  release(versions: ReadonlySet<number>): void {
    for (const group of this.#groups.values()) {
      if ([...group.versions].some((version) => versions.has(version))) endAll(group, { kind: "nothing" });
    }
  }

  /** The tail is no more. */
  lose(): void {
    for (const group of this.#groups.values()) endAll(group, { kind: "lost" });
  }

  fail(error: unknown): void {
    for (const group of this.#groups.values()) for (const waiter of group.waiters) waiter.fail(error);
  }

  /** Ends all waits, and those to come. */
  close(): void {
    this.#isClosed = true;
    for (const group of this.#groups.values()) endAll(group, { kind: "nothing" });
  }
}

function endAll(group: Group, how: WaitEnd): void {
  for (const waiter of group.waiters) waiter.end(how);
}
