import type pg from "pg";
import { unsignedTime } from "./append-message.ts";
import { withClient } from "./with-client.ts";

/** How the capture of one source is, as all processes see it. */
export interface SourceFacts {
  readonly source: string;
  /** How often the source's lease changed hands. */
  readonly epoch: number;
  /** Cluster time up to which it was captured, a BSON timestamp as an unsigned 64-bit number; null if unknown. */
  readonly capturedTime: bigint | null;
}

/** Where the log is, how large it is, and how its sources are. */
export interface LogFacts {
  readonly head: number;
  readonly floor: number;
  /** All that the schema takes on PostgreSQL's disk, indexes included. */
  readonly sizeBytes: number;
  readonly sources: readonly SourceFacts[];
}

interface FactsRow {
  readonly position: string;
  readonly floor: string;
  readonly size_bytes: string;
  readonly sources: readonly { source: string; epoch: number; captured_time: string | null }[] | null;
}

/**
 * Reads what metrics show of the log, in one statement.
 *
 * @throws EmcacheError `postgres_unavailable`, also after `timeoutMs`
 */
export async function readLogFacts(pool: pg.Pool, signal: AbortSignal, timeoutMs: number): Promise<LogFacts> {
  const { rows } = await withClient(pool, { signal, timeoutMs }, (client) =>
    client.query<FactsRow>(
      `SELECT h.position, h.floor,
         (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
           WHERE c.relnamespace = 'emcache'::regnamespace AND c.relkind = 'r') AS size_bytes,
         (SELECT json_agg(json_build_object('source', l.source, 'epoch', l.epoch,
             'captured_time', c.cluster_time::text))
           FROM emcache.source_lease l LEFT JOIN emcache.source_checkpoint c USING (source)) AS sources
       FROM emcache.head h`,
    ),
  );
  const row = rows[0];
  return {
    head: Number(row?.position ?? 0),
    floor: Number(row?.floor ?? 0),
    sizeBytes: Number(row?.size_bytes ?? 0),
    sources: (row?.sources ?? []).map(({ source, epoch, captured_time }) => ({
      source,
      epoch,
      capturedTime: unsignedTime(captured_time),
    })),
  };
}
