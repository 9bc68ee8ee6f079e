/** A cluster time as one number: seconds since 1970 in the upper 32 bits, an increment in the lower. */
export type ClusterTime = bigint;

/** Gives each write a time of its own, later than all before, as a replica set's primary does. */
export class ClusterClock {
  #last: ClusterTime;

  constructor() {
    this.#last = wallSeconds() << 32n;
    this.#last |= 1n;
  }

  /** The time of the latest write, or of the no-op writer. */
  get last(): ClusterTime {
    return this.#last;
  }

  /** A new time. */
  tick(): ClusterTime {
    const now = wallSeconds() << 32n;
    this.#last = now > this.#last ? now | 1n : this.#last + 1n;
    return this.#last;
  }
}

function wallSeconds(): bigint {
  return BigInt(Math.floor(Date.now() / 1000));
}
