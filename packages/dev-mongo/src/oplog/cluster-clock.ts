/** A cluster time as one number: seconds since 1970 in the upper 32 bits, an increment in the lower. */
export type ClusterTime = bigint;

/** Gives each write a time of its own, later than all before, as a replica set's primary does. */
export class ClusterClock {
  #last: ClusterTime;

  constructor() {
    // A second ahead: a server that ran here until a moment ago gave no time as late as this.
    this.#last = ((wallSeconds() + 1n) << 32n) | 1n;
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
