import type { ClusterTime } from "./cluster-clock.ts";
import type { NewEntry, OplogEntry } from "./oplog-entry.ts";

/** How the oplog is bounded. */
export interface OplogLimits {
  readonly bytesMax: number;
  readonly entriesMax: number;
}

/** Removed entries are let go when they are this many, so that removing one costs nothing. */
const COMPACT_ENTRIES = 4096;

/**
 * What happened, in order of time, within bounds: the oldest entries go when there are too many. Those who follow it
 * keep the sequence number of the next entry they want.
 */
export class Oplog {
  readonly #limits: OplogLimits;
  #entries: (OplogEntry | undefined)[] = [];
  /** Index in `#entries` of the oldest entry that is still there. */
  #start = 0;
  #firstSequence = 0;
  #bytes = 0;
  #lostUpTo: ClusterTime = 0n;
  #listeners = new Set<() => void>();
  #isNotifying = false;

  /** @param begin nothing is known of this time and before: a server that starts has no history. */
  constructor(limits: OplogLimits, begin: ClusterTime) {
    this.#limits = limits;
    this.#lostUpTo = begin;
  }

  /** Sequence number that the next entry will have. */
  get end(): number {
    return this.#firstSequence + this.#entries.length - this.#start;
  }

  /** Sequence number of the oldest entry. */
  get begin(): number {
    return this.#firstSequence;
  }

  /** Time of the newest entry that was removed; 0 where none was. */
  get lostUpTo(): ClusterTime {
    return this.#lostUpTo;
  }

  at(sequence: number): OplogEntry | undefined {
    return this.#entries[this.#start + sequence - this.#firstSequence];
  }

  append(entry: NewEntry): void {
    const place = { sequence: this.end, cachedEvent: null, cachedForm: "" };
    this.#entries.push({ ...entry, ...place });
    this.#bytes += entry.sizeBytes;
    this.#trim();
    this.wake();
  }

  /** Sequence number of the first entry at or after this time; `end` where there is none. */
  sequenceAt(time: ClusterTime): number {
    let low = this.begin;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.at(middle)?.time ?? 0n) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Calls `listener` soon after something was appended, once for many entries. */
  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the listeners, as after an append. */
  wake(): void {
    if (this.#isNotifying || this.#listeners.size === 0) return;
    this.#isNotifying = true;
    queueMicrotask(() => {
      this.#isNotifying = false;
      for (const listener of this.#listeners) listener();
    });
  }

  /** Forgets everything up to now, as an oplog that was outrun. */
  loseHistory(): void {
    while (this.begin < this.end) this.#removeOldest();
  }

  /** Takes the newest entry back, as a rollback does; undefined where there is none. */
  removeNewest(): OplogEntry | undefined {
    if (this.begin === this.end) return undefined;
    const entry = this.#entries.pop();
    this.#bytes -= entry?.sizeBytes ?? 0;
    return entry;
  }

  #trim(): void {
    const { bytesMax, entriesMax } = this.#limits;
    while ((this.#bytes > bytesMax || this.end - this.begin > entriesMax) && this.end - this.begin > 1) {
      this.#removeOldest();
    }
  }

  #removeOldest(): void {
    const entry = this.#entries[this.#start];
    this.#entries[this.#start] = undefined;
    this.#start++;
    this.#firstSequence++;
    this.#bytes -= entry?.sizeBytes ?? 0;
    this.#lostUpTo = entry?.time ?? this.#lostUpTo;
    if (this.#start < COMPACT_ENTRIES || this.#start * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#start);
    this.#start = 0;
  }
}
