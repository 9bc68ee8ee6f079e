/** What a page's statement is made from; whole numbers only, checked by the caller. */
export interface PageQuery {
  readonly after: number;
  readonly limit: number;
  /** Positions that the page looks at, at most. */
  readonly scanMax: number;
  readonly bytesMax: number;
  /** Null: all. */
  readonly versions: readonly number[] | null;
}

/**
 * Local to the page's transaction. The order of the rows is the order in which a nested loop visits headers and their
 * rows: whatever the statistics say, a plan that sorts or hashes the log is not wanted.
 */
const PLAN_SETTINGS =
  "SET LOCAL statement_timeout = '60s'; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; " +
  "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL jit = off";

/**
 * The message that reads one page: head, floor, headers and rows are of one statement, so of one snapshot. The first
 * row's `data` is the page's `PageFacts` as JSON, its `operation` is empty; the others are rows of the log, in order.
 *
 * Tag and time stand only at the first row of each batch in the page: they are the same for all of it.
 */
export function pageMessage({ after, limit, scanMax, bytesMax, versions }: PageQuery): string {
  const through = after + scanMax;
  const wanted = versions === null ? null : `'{${versions.join(",")}}'::integer[]`;
  const headersWanted = wanted === null ? "" : `WHERE h.versions && ${wanted}`;
  // Without a filter every row is seen, and a missing one found; what is deleted comes without its data.
  const rowsWanted = wanted === null ? "" : `AND o.version = ANY (${wanted})`;
  return `BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; ${PLAN_SETTINGS};
WITH lock_order AS (
  -- Never run; being named first it makes every reader lock oplog before batch, as retention does.
  SELECT FROM emcache.oplog
), bound AS MATERIALIZED (
  SELECT h.log_id, h.position, h.floor, h.floor_tag, least(h.position, ${through}) AS through,
    CASE WHEN ${after} < h.floor THEN h.floor ELSE (
      SELECT b.first_position FROM emcache.batch b WHERE b.first_position <= ${after}
        ORDER BY b.first_position DESC LIMIT 1) END AS low,
    ARRAY(SELECT e.version FROM emcache.entity_version e WHERE e.deleted_position IS NOT NULL) AS deleted
    FROM emcache.head h
), headers AS MATERIALIZED (
  SELECT b.batch_id, b.first_position, b.row_count, b.tag, b.versions, b.created_at,
    lag(b.first_position + b.row_count) OVER (ORDER BY b.first_position) AS expected
    FROM emcache.batch b
    WHERE b.first_position >= (SELECT low FROM bound) AND b.first_position <= (SELECT through FROM bound)
    ORDER BY b.first_position
), found AS (
  SELECT h.first_position + o.number AS position, h.batch_id, h.tag, h.created_at, o.version, o.operation, o.doc_id,
    o.id_type, o.origin, o.transaction, o.transaction_end,
    CASE WHEN o.version = ANY ((SELECT deleted FROM bound)::integer[]) THEN NULL ELSE o.data END AS data
    FROM (SELECT * FROM headers h ${headersWanted} ORDER BY h.first_position) h
    CROSS JOIN LATERAL (
      SELECT * FROM emcache.oplog o
        WHERE o.batch_id = h.batch_id AND o.number > ${after} - h.first_position
          AND o.number <= (SELECT through FROM bound) - h.first_position ${rowsWanted}
        ORDER BY o.number
    ) o
    LIMIT ${limit}
), measured AS (
  SELECT f.*, lag(f.batch_id) OVER w IS DISTINCT FROM f.batch_id AS first_of_batch,
    sum(coalesce(octet_length(f.data), 0) + octet_length(f.doc_id) + 64) OVER (w ROWS UNBOUNDED PRECEDING) AS bytes_with,
    coalesce(octet_length(f.data), 0) + octet_length(f.doc_id) + 64 AS bytes
    FROM found f WINDOW w AS ()
)
SELECT (SELECT position FROM bound) AS position, 0 AS version, '' AS operation, '' AS doc_id, 0 AS id_type, '' AS origin,
  NULL AS transaction, false AS transaction_end,
  json_build_object('logId', b.log_id, 'floor', b.floor, 'floorTag', b.floor_tag, 'through', b.through,
    'deleted', b.deleted, 'firstPosition', h.first_position, 'endPosition', h.end_position, 'firstEnd', h.first_end,
    'firstTag', h.first_tag, 'lastTag', h.last_tag, 'hole', h.hole)::text AS data,
  '' AS tag, '' AS created_at, false AS cut
  FROM bound b, (
    SELECT min(first_position) AS first_position, max(first_position + row_count) - 1 AS end_position,
      min(first_position + row_count) - 1 AS first_end, min(expected) FILTER (WHERE expected <> first_position) AS hole,
      (array_agg(tag ORDER BY first_position))[1] AS first_tag,
      (array_agg(tag ORDER BY first_position DESC))[1] AS last_tag
      FROM headers) h
UNION ALL
SELECT m.position, m.version, m.operation::text, m.doc_id, m.id_type, m.origin::text, m.transaction, m.transaction_end,
  m.data, CASE WHEN m.first_of_batch THEN m.tag END,
  CASE WHEN m.first_of_batch THEN to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END,
  m.bytes_with >= ${bytesMax}
  FROM measured m WHERE m.bytes_with - m.bytes < ${bytesMax};
COMMIT`;
}
