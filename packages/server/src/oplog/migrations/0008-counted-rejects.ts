import type { Migration } from "./migration.ts";

/** Rejects kept one by one for each version; more are only counted. Enough to see what is wrong. */
const rejectRowsMax = 1000;

/**
 * Of many rejects in one append only the first are sent one by one, the rest as a number (`more`): 5,000 of them made an
 * append seven times as slow (measured by copy-control-store.test.ts).
 */
export const countedRejects: Migration = {
  version: 8,
  name: "counted rejects",
  isAdditive: true,
  sql: `
CREATE OR REPLACE FUNCTION emcache.add_rejects(p_rejects json) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
  v_version integer;
  v_more bigint;
BEGIN
  FOR v_version, v_more IN
    SELECT g.version, coalesce(sum(g.more), 0)
      FROM json_to_recordset(p_rejects) AS g(version integer, more bigint) GROUP BY 1 ORDER BY 1
  LOOP
    -- Also the lock that makes the bound exact.
    INSERT INTO emcache.reject_total AS t (version, total) VALUES (v_version, 0)
      ON CONFLICT (version) DO UPDATE SET total = t.total;
    WITH given AS MATERIALIZED (
      SELECT DISTINCT ON (g.key) g.key, g.doc_id, g.column_name, g.reason, g.sample
        FROM json_to_recordset(p_rejects)
          AS g(version integer, key text, doc_id text, column_name text, reason text, sample text)
        WHERE g.version = v_version AND g.key IS NOT NULL ORDER BY g.key
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
    UPDATE emcache.reject_total SET total = total + v_more + (SELECT count(*) FROM unknown) WHERE version = v_version;
  END LOOP;
END $body$;
`,
};
