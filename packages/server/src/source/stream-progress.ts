import { type ClusterTime, laterOf } from "./cluster-time.ts";

/** What must be true before a state that was read beside the stream is older than everything the stream still brings. */
export interface Horizon {
  /** `operationTime` of the reply that carried the state. */
  readonly time: ClusterTime;
  /** Number of the stream's latest request when that reply was received. */
  readonly requestCount: number;
}

/**
 * How far the stream has been processed, and whether that is past a horizon `H` (architecture, "Copy and change
 * stream joined without a gap"). Past means: an event or a decodable token later than `H`; or, where one member
 * answers both, an empty batch to a request that was sent after the horizon's reply was received. A server whose
 * tokens are decodable may return an empty batch because its time ran out in the middle of its oplog: there the
 * batch's token must have reached `H` too.
 */
export class StreamProgress {
  readonly #isSharded: boolean;
  #eventTime: ClusterTime | null = null;
  #requestCount = 0;
  #empty: { readonly requestNumber: number; readonly tokenTime: ClusterTime | null } | null = null;
  #operationTime: ClusterTime | null = null;

  constructor(isSharded: boolean) {
    this.#isSharded = isSharded;
  }

  /** The latest `operationTime` seen; a read after it sees everything that was processed. */
  get operationTime(): ClusterTime | null {
    return this.#operationTime;
  }

  /** Cluster time of the last event that was processed. */
  get eventTime(): ClusterTime | null {
    return this.#eventTime;
  }

  /** Counts a request to the stream that is about to be sent, and returns its number, from 1. */
  sent(): number {
    return ++this.#requestCount;
  }

  /** The horizon of a state whose reply has just been received. */
  horizonOf(operationTime: ClusterTime): Horizon {
    return { time: operationTime, requestCount: this.#requestCount };
  }

  /** Everything up to an event of this time has been processed. */
  processed(time: ClusterTime): void {
    this.#eventTime = laterOf(this.#eventTime, time);
  }

  /** The source has reached this time: reads that must see what the stream brought ask for it. */
  observed(operationTime: ClusterTime): void {
    this.#operationTime = laterOf(this.#operationTime, operationTime);
  }

  /** The stream had nothing more when it answered this request. */
  wasEmpty(requestNumber: number, tokenTime: ClusterTime | null): void {
    this.#empty = { requestNumber, tokenTime };
    if (tokenTime !== null) this.processed(tokenTime);
  }

  hasPassed(horizon: Horizon): boolean {
    if (this.#eventTime !== null && this.#eventTime > horizon.time) return true;
    if (this.#isSharded || this.#empty === null || this.#empty.requestNumber <= horizon.requestCount) return false;
    return this.#empty.tokenTime === null || this.#empty.tokenTime >= horizon.time;
  }
}
