/** A cluster time as one number: seconds since 1970 in the upper 32 bits, an increment in the lower. */
export type ClusterTime = bigint;

/** Gives each write a time of its own, later than all before, as a replica set's primary does. */
export class ClusterClock {
  #last: ClusterTime;
  #seconds: number;

  constructor() {
    // A second ahead: a server that ran here until a moment ago gave no time as late as this.
    this.#seconds = Math.floor(Date.now() / 1000) + 1;
    this.#last = (BigInt(this.#seconds) << 32n) | 1n;
  }

  /** The time of the latest write, or of the no-op writer. */
  get last(): ClusterTime {
    return this.#last;
  }

  /** A new time. */
  tick(): ClusterTime {
    // A new second begins rarely, a new time often.
    const seconds = Math.floor(Date.now() / 1000);
    if (seconds > this.#seconds) {
      this.#seconds = seconds;
      this.#last = (BigInt(seconds) << 32n) | 1n;
    } else this.#last += 1n;
    return this.#last;
  }
}
