import { EmcacheError } from "@emcache/protocol";
import { type Clock, systemClock } from "./clock.ts";
import { messageOf } from "./error-message.ts";
import type { ComponentState } from "./service.ts";

/**
 * How one part is, as it tells itself and as `/health` shows it. Begins as degraded with the reason "starting", so
 * that a part that never gets to work is not taken for a healthy one.
 */
export class ComponentHealth {
  readonly name: string;
  readonly #clock: Clock;
  #state: ComponentState;
  readonly #retries = new Map<string, number>();

  constructor(name: string, clock: Clock = systemClock) {
    this.name = name;
    this.#clock = clock;
    this.#state = { status: "degraded", since: this.#now(), reason: "starting", code: null, hint: null };
  }

  state(): ComponentState {
    return this.#state;
  }

  healthy(): void {
    this.#become({ status: "healthy", reason: null, code: null, hint: null });
  }

  /** It does not do its work because of `error`, and keeps trying: after `delayMs`, where that is known. */
  degraded(error: unknown, retry: { readonly attempt: number; readonly delayMs: number } | null = null): void {
    const known = error instanceof EmcacheError ? error : null;
    if (retry !== null) this.retried(error);
    this.#become({
      status: "degraded",
      reason: messageOf(error),
      code: known?.code ?? null,
      hint: known?.hint ?? null,
      ...(retry === null ? {} : { retry: { attempt: retry.attempt, next_try_at: this.#inMs(retry.delayMs) } }),
    });
  }

  /** Something of it failed and is tried again; how the part is does not change by that. */
  retried(error: unknown): void {
    const cause = error instanceof EmcacheError ? error.code : "internal";
    this.#retries.set(cause, (this.#retries.get(cause) ?? 0) + 1);
  }

  /** How often it tried again since the process began, by the code of the error that was the cause. */
  retries(): ReadonlyMap<string, number> {
    return this.#retries;
  }

  stopped(): void {
    this.#become({ status: "stopped", reason: null, code: null, hint: null });
  }

  /** `since` moves only when the status changes: a part that fails again has been failing since the first time. */
  #become(next: Omit<ComponentState, "since">): void {
    const since = next.status === this.#state.status ? this.#state.since : this.#now();
    this.#state = { ...next, since };
  }

  #now(): string {
    return this.#inMs(0);
  }

  #inMs(delayMs: number): string {
    return new Date(this.#clock.nowMs() + delayMs).toISOString();
  }
}
