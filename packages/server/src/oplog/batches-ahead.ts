import type { CommittedBatch } from "./committed-batch.ts";

/** Batches of another source's commit that is still to be heard of are few; what is lost is read from the log. */
const COUNT_MAX = 64;

/** Batches that this process has committed and that a reader of the log has not come to yet, by their first position. */
export class BatchesAhead {
  readonly #batches = new Map<number, CommittedBatch>();

  add(batch: CommittedBatch): void {
    if (this.#batches.size >= COUNT_MAX) this.#batches.clear();
    this.#batches.set(batch.firstPosition, batch);
  }

  /** Takes the batch that begins just after a position; those that it has passed are dropped. */
  take(after: number): CommittedBatch | null {
    const batch = this.#batches.get(after + 1) ?? null;
    for (const position of this.#batches.keys()) if (position <= after + 1) this.#batches.delete(position);
    return batch;
  }

  clear(): void {
    this.#batches.clear();
  }
}
