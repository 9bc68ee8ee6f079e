import type { Migration } from "./migration.ts";

/** Rejects kept one by one for each version; more are only counted. Enough to see what is wrong. */
const rejectRowsMax = 1000;

/**
 * The last step of an append, in one statement, so that no client round trip happens under its locks. Lock order:
 * lease, checkpoint, what belongs to single versions, and last the head.
 *
 * SQLSTATEs of our own: EM001 the lease is another's; EM002 this append is already in the log (DETAIL: its first
 * position); EM003 it is not the next append of its source.
 */
export const sealFunctions: Migration = {
  version: 2,
  name: "seal functions",
  isAdditive: false,
  sql: `
CREATE FUNCTION emcache.add_rejects(p_rejects json) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
  v_version integer;
BEGIN
  FOR v_version IN
    SELECT DISTINCT g.version FROM json_to_recordset(p_rejects) AS g(version integer) ORDER BY 1
  LOOP
    -- Also the lock that makes the bound exact.
    INSERT INTO emcache.reject_total AS t (version, total) VALUES (v_version, 0)
      ON CONFLICT (version) DO UPDATE SET total = t.total;
    WITH given AS MATERIALIZED (
      SELECT DISTINCT ON (g.key) g.key, g.doc_id, g.column_name, g.reason, g.sample
        FROM json_to_recordset(p_rejects)
          AS g(version integer, key text, doc_id text, column_name text, reason text, sample text)
        WHERE g.version = v_version ORDER BY g.key
    ), known AS (
      UPDATE emcache.reject r
        SET reason = g.reason, sample = g.sample, seen_count = r.seen_count + 1, last_seen_at = now()
        FROM given g WHERE r.version = v_version AND r.key = g.key RETURNING r.key
    ), unknown AS MATERIALIZED (
      SELECT g.* FROM given g WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.key = g.key)
    ), kept AS (
      INSERT INTO emcache.reject (version, key, doc_id, column_name, reason, sample)
        SELECT v_version, u.key, u.doc_id, u.column_name, u.reason, u.sample FROM unknown u
        LIMIT greatest(0, ${rejectRowsMax} - (SELECT count(*) FROM emcache.reject WHERE version = v_version))
    )
    UPDATE emcache.reject_total SET total = total + (SELECT count(*) FROM unknown) WHERE version = v_version;
  END LOOP;
END $body$;

CREATE FUNCTION emcache.seal(p_batch_id bigint, p json, OUT sealed_position bigint, OUT previous_tag text, OUT sealed_log_id text)
LANGUAGE plpgsql AS $body$
DECLARE
  v_source text := p->>'source';
  v_epoch bigint := (p->>'epoch')::bigint;
  v_number bigint := (p->>'number')::bigint;
  v_tag text := p->>'tag';
  v_row_count integer := (p->>'rowCount')::integer;
  v_ends integer[] := ARRAY(SELECT e.version FROM json_to_recordset(p->'syncEnds') AS e(version integer));
  v_before emcache.source_checkpoint%ROWTYPE;
  v_first bigint := 0;
BEGIN
  PERFORM 1 FROM emcache.source_lease WHERE source = v_source AND epoch = v_epoch AND NOT released FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another process captures source "%" now', v_source USING ERRCODE = 'EM001';
  END IF;

  SELECT * INTO STRICT v_before FROM emcache.source_checkpoint WHERE source = v_source FOR UPDATE;
  IF v_before.append_number = v_number AND v_before.append_tag = v_tag THEN
    RAISE EXCEPTION 'append % of source "%" is in the log', v_number, v_source
      USING ERRCODE = 'EM002', DETAIL = v_before.append_first_position::text;
  END IF;
  IF v_before.append_number <> v_number - 1 THEN
    RAISE EXCEPTION 'append % of source "%" comes after append %', v_number, v_source, v_before.append_number
      USING ERRCODE = 'EM003';
  END IF;

  IF p->'copies' IS NOT NULL THEN
    INSERT INTO emcache.copy AS c (version, source, copy_id, state, last_id, row_count, row_count_estimate)
      SELECT g.version, v_source, g."copyId", g.state, decode(g."lastId", 'hex'), g."rowCount", g."rowCountEstimate"
        FROM json_to_recordset(p->'copies') AS g(version integer, "copyId" text, state text, "lastId" text,
          "rowCount" bigint, "rowCountEstimate" bigint)
        WHERE NOT EXISTS (
          SELECT 1 FROM emcache.entity_version e WHERE e.version = g.version AND e.deleted_position IS NOT NULL)
      ON CONFLICT (version) DO UPDATE SET source = excluded.source, copy_id = excluded.copy_id,
        state = excluded.state, last_id = excluded.last_id, row_count = excluded.row_count,
        row_count_estimate = excluded.row_count_estimate, updated_at = now();
  END IF;

  IF p->'syncStarts' IS NOT NULL THEN
    -- A new copy meets every document again: what is still wrong is told again.
    DELETE FROM emcache.reject r USING json_to_recordset(p->'syncStarts') AS g(version integer)
      WHERE r.version = g.version;
    UPDATE emcache.reject_total t SET total = 0 FROM json_to_recordset(p->'syncStarts') AS g(version integer)
      WHERE t.version = g.version;
    DELETE FROM emcache.copy_request r USING json_to_recordset(p->'syncStarts') AS g(version integer)
      WHERE r.version = g.version;
  END IF;
  IF p->'rejects' IS NOT NULL THEN
    PERFORM emcache.add_rejects(p->'rejects');
  END IF;

  IF v_ends <> '{}' THEN
    -- First the older one goes, then the newer one comes: the unique indexes are checked row by row.
    UPDATE emcache.entity_version old SET state = 'retired'
      FROM emcache.entity_version new
      WHERE new.version = ANY (v_ends) AND new.state = 'pending' AND new.deleted_position IS NULL
        AND old.name = new.name AND old.state = 'live';
    UPDATE emcache.entity_version SET state = 'live'
      WHERE version = ANY (v_ends) AND state = 'pending' AND deleted_position IS NULL;
  END IF;

  IF v_row_count > 0 THEN
    SELECT h.position + 1, h.tag, h.log_id::text INTO STRICT v_first, previous_tag, sealed_log_id
      FROM emcache.head h FOR UPDATE;
    UPDATE emcache.head SET position = position + v_row_count, tag = v_tag;
    INSERT INTO emcache.batch
      (batch_id, first_position, row_count, versions, tag, source, epoch, cluster_time, created_at)
      VALUES (p_batch_id, v_first, v_row_count,
        ARRAY(SELECT g::integer FROM json_array_elements_text(p->'versions') AS g), v_tag, v_source, v_epoch,
        coalesce((p->'checkpoint'->>'clusterTime')::bigint, v_before.cluster_time), clock_timestamp());
    INSERT INTO emcache.copy_bracket AS b (version, start_position)
      SELECT g.version, v_first + g.number
        FROM json_to_recordset(p->'syncStarts') AS g(version integer, number integer)
      ON CONFLICT (version) DO UPDATE SET start_position = excluded.start_position;
    UPDATE emcache.copy_bracket b SET complete_start_position = b.start_position
      FROM json_to_recordset(p->'syncEnds') AS g(version integer, number integer)
      WHERE b.version = g.version AND b.start_position < v_first + g.number;
  END IF;

  UPDATE emcache.source_checkpoint SET
    append_number = v_number, append_tag = v_tag, append_first_position = v_first,
    resume_token = CASE WHEN p->'checkpoint' IS NULL THEN resume_token
      ELSE decode(p->'checkpoint'->>'resumeToken', 'hex') END,
    cluster_time = CASE WHEN p->'checkpoint' IS NULL THEN cluster_time
      ELSE (p->'checkpoint'->>'clusterTime')::bigint END,
    lookup_horizon = CASE WHEN p->'checkpoint' IS NULL THEN lookup_horizon
      ELSE (p->'checkpoint'->>'lookupHorizon')::bigint END
    WHERE source = v_source;
  sealed_position := v_first;
END $body$;
`,
};
