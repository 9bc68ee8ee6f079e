/** A request that was answered. */
export interface ObservedRequest {
  readonly method: string;
  /** The route's pattern, as `/api/entities/:name`; "none" where no route matched. */
  readonly route: string;
  readonly statusCode: number;
  readonly durationMs: number;
}

/** What a queue holds in memory, and its bound. */
export interface QueueState {
  readonly bytes: number;
  readonly bytesMax: number;
}

/** The figures of the process, which the API serves and adds to. */
export interface MetricsPort {
  /** Media type of `text`. */
  readonly contentType: string;
  /** The exposition, in Prometheus' text format. */
  text(): Promise<string>;
  observeRequest(request: ObservedRequest): void;
  addQueue(name: string, state: () => QueueState): void;
}
