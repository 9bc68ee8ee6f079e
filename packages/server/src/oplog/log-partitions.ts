import type pg from "pg";
import { PARTITION_BATCH_COUNT, firstBatchIdOf, partitionOf, partitionTables } from "./partition-range.ts";

/** What one partition of the log holds. */
export interface PartitionFacts {
  readonly partition: number;
  /** Last position of its batches; null where it has none. */
  readonly endPosition: number | null;
  readonly rowCount: number;
  /** Age of its oldest and its newest batch by the database's clock, in seconds; null where it has none. */
  readonly oldestAgeS: number | null;
  readonly newestAgeS: number | null;
}

/** The partition that the next batch goes to. */
export async function currentPartition(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ next: string }>(
    "SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END AS next FROM emcache.batch_id",
  );
  return partitionOf(Number(rows[0]?.next ?? 0));
}

/** What each partition holds, in their order. */
export async function listPartitions(client: pg.ClientBase): Promise<PartitionFacts[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'emcache.batch'::regclass`,
  );
  const partitions = rows.map(({ name }) => Number(name.slice("batch_p".length))).sort((a, b) => a - b);
  const facts: PartitionFacts[] = [];
  for (const partition of partitions) facts.push(await partitionFacts(client, partition));
  return facts;
}

/** What one partition holds. */
export async function partitionFacts(client: pg.ClientBase, partition: number): Promise<PartitionFacts> {
  const { rows } = await client.query<{
    first: string | null;
    end: string | null;
    oldest: number | null;
    newest: number | null;
  }>(
    // Ends of an index only, no scan: times rise with positions, because both are given under the head's lock.
    `WITH ends AS (
       (SELECT first_position, row_count, created_at FROM emcache.${partitionTables(partition).headers}
         ORDER BY first_position LIMIT 1)
       UNION ALL
       (SELECT first_position, row_count, created_at FROM emcache.${partitionTables(partition).headers}
         ORDER BY first_position DESC LIMIT 1)
     )
     SELECT min(first_position) AS first, max(first_position + row_count) - 1 AS end,
       extract(epoch FROM now() - min(created_at))::float8 AS oldest,
       extract(epoch FROM now() - max(created_at))::float8 AS newest FROM ends`,
  );
  const row = rows[0];
  const end = row?.end ?? null;
  return {
    partition,
    endPosition: end === null ? null : Number(end),
    rowCount: end === null ? 0 : Number(end) - Number(row?.first) + 1,
    oldestAgeS: row?.oldest ?? null,
    newestAgeS: row?.newest ?? null,
  };
}

/**
 * Makes a partition if it is missing. It is made apart and then attached: that takes a lock that lets appends and reads
 * go on, where CREATE TABLE … PARTITION OF would wait for all of them and make the next ones wait.
 */
export async function makePartition(client: pg.ClientBase, partition: number): Promise<void> {
  const { rows: rowTable, headers } = partitionTables(partition);
  const from = firstBatchIdOf(partition);
  const to = from + PARTITION_BATCH_COUNT;
  for (const [parent, table] of [
    ["oplog", rowTable],
    ["batch", headers],
  ] as const) {
    const found = await client.query<{ exists: boolean }>("SELECT to_regclass($1) IS NOT NULL AS exists", [
      `emcache.${table}`,
    ]);
    if (found.rows[0]?.exists === true) continue;
    // The check spares the attaching a scan; afterwards the bounds say the same.
    await client.query(
      `CREATE TABLE emcache.${table} (LIKE emcache.${parent} INCLUDING ALL) WITH (fillfactor = 100);
       ALTER TABLE emcache.${table} ADD CONSTRAINT bounds CHECK (batch_id >= ${from} AND batch_id < ${to});
       ALTER TABLE emcache.${parent} ATTACH PARTITION emcache.${table} FOR VALUES FROM (${from}) TO (${to});
       ALTER TABLE emcache.${table} DROP CONSTRAINT bounds`,
    );
  }
}

/** Lets the batches from now on go to a partition, which exists. */
export async function rollTo(client: pg.ClientBase, partition: number): Promise<void> {
  await client.query("SELECT setval('emcache.batch_id', $1, false)", [firstBatchIdOf(partition)]);
}

/**
 * Keeps appends and reads away until the transaction ends. `oplog` first: an append that holds the head has its rows
 * there already, so none is between the two (no deadlock).
 */
export async function lockLog(client: pg.ClientBase): Promise<void> {
  await client.query("LOCK TABLE emcache.oplog, emcache.batch IN ACCESS EXCLUSIVE MODE");
}

/**
 * Drops a partition and moves the floor above it. Under `lockLog`; so the floor, the rows and what a late append may
 * have put there are one picture.
 */
export async function dropPartition(client: pg.ClientBase, { partition, endPosition }: PartitionFacts): Promise<void> {
  const { rows, headers } = partitionTables(partition);
  if (endPosition !== null) {
    await client.query(
      `UPDATE emcache.head SET floor = $1::bigint + 1, floor_tag = (
         SELECT b.tag FROM emcache.${headers} b WHERE b.first_position <= $1 ORDER BY b.first_position DESC LIMIT 1)
       WHERE floor <= $1`,
      [endPosition],
    );
  }
  await client.query(`DROP TABLE emcache.${rows}; DROP TABLE emcache.${headers}`);
}
