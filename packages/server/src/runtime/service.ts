/**
 * A part of the process that runs until it is stopped.
 *
 * Contract: `start` resolves once the part does its work or has begun to try (a database that is absent is not a
 * failed start: the part keeps trying and says so in its state). `stop` is called once, also when `start` failed or
 * is still running; it lets work in hand finish until `signal` aborts, then gives it up, and never throws for that.
 */
export interface Service {
  /** For logs and `/health`. */
  readonly name: string;
  start(): Promise<void>;
  stop(signal: AbortSignal): Promise<void>;
}

/** How a part is, as `/health` shows it. */
export interface ComponentState {
  readonly status: "healthy" | "degraded" | "stopped";
  /** RFC 3339, UTC: since when it is in this status. */
  readonly since: string;
  /** Why it is not healthy: the message of the last error. */
  readonly reason: string | null;
  /** Code of that error, from the catalogue. */
  readonly code: string | null;
  readonly hint: string | null;
  /** While it waits to try again; absent otherwise. */
  readonly retry?: RetryState;
}

/** How far the trying again is. */
export interface RetryState {
  /** Failures in a row. */
  readonly attempt: number;
  /** When it tries next: RFC 3339, UTC. */
  readonly next_try_at: string;
}
