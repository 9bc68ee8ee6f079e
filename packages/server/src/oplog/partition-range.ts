/**
 * The log is partitioned by `batch_id`. Partition `k` holds `[k * 2^30, (k + 1) * 2^30)`; the sequence jumps to the next
 * partition's first id where retention wants a new one. 2^30 batches never fill one, 2^23 partitions never run out
 * (batch ids stay below 2^53, so they are exact as JavaScript numbers).
 */
export const PARTITION_BATCH_COUNT = 2 ** 30;

/** Number of the partition that holds a batch id. */
export function partitionOf(batchId: number): number {
  return Math.floor(batchId / PARTITION_BATCH_COUNT);
}

/** First batch id of a partition. */
export function firstBatchIdOf(partition: number): number {
  return partition * PARTITION_BATCH_COUNT;
}

/** The two tables that a partition consists of, without the schema: rows, then headers. */
export function partitionTables(partition: number): { readonly rows: string; readonly headers: string } {
  return { rows: `oplog_p${partition}`, headers: `batch_p${partition}` };
}
