import type { Migration } from "./migration.ts";

/**
 * A row that every append rewrites: nearly empty pages leave room for the new version on the same page, so that it is
 * pruned by the next access (HOT) and neither an index nor a vacuum has work; the vacuum that truncates what a long
 * transaction left behind comes early.
 */
const hotRow = `WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_cost_delay = 0)`;

/** Append-only tables: they are never updated, so pages may be full; statistics change slowly. */
const appendOnly = `WITH (fillfactor = 100)`;

export const baseTables: Migration = {
  version: 1,
  name: "base tables",
  isAdditive: false,
  sql: `
-- The log's identity and how far it goes. Locked last by every append: positions come in commit order.
CREATE TABLE emcache.head (
  only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  log_id    uuid NOT NULL DEFAULT gen_random_uuid(),
  position  bigint NOT NULL DEFAULT 0,  -- the last one given
  tag       text NOT NULL DEFAULT '',   -- tag of the batch that holds it
  floor     bigint NOT NULL DEFAULT 1,  -- the lowest one held; position + 1 where none is
  floor_tag text NOT NULL DEFAULT ''    -- tag of the batch that ended just below the floor
) ${hotRow};
INSERT INTO emcache.head DEFAULT VALUES;

CREATE SEQUENCE emcache.batch_id AS bigint MINVALUE 0 START 0;

-- Headers. A batch is visible when its header is: rows without one are of an append that did not come to its end.
CREATE TABLE emcache.batch (
  batch_id       bigint NOT NULL,
  first_position bigint NOT NULL,
  row_count      integer NOT NULL CHECK (row_count > 0),
  versions       integer[] NOT NULL,
  tag            text NOT NULL,
  source         text NOT NULL,
  epoch          bigint NOT NULL,
  cluster_time   bigint,                -- a BSON timestamp's 64 bits, as signed
  created_at     timestamptz NOT NULL
) PARTITION BY RANGE (batch_id);
-- Unique over all partitions by the lock on emcache.head; a unique index would need the partition key.
CREATE INDEX batch_first_position ON emcache.batch (first_position);

CREATE TABLE emcache.oplog (
  batch_id        bigint NOT NULL,
  number          integer NOT NULL,     -- position = the header's first_position + number
  version         integer NOT NULL,
  id_type         smallint NOT NULL,
  operation       "char" NOT NULL,      -- u upsert, d delete, s sync_start, e sync_end
  origin          "char" NOT NULL,      -- c copy, s stream
  transaction_end boolean NOT NULL,
  doc_id          text NOT NULL,        -- stored-text.ts says how it holds what text can't
  transaction     text,
  data            text,                 -- a JSON array, as text: never parsed here
  PRIMARY KEY (batch_id, number)
) PARTITION BY RANGE (batch_id);

CREATE TABLE emcache.batch_p0 PARTITION OF emcache.batch FOR VALUES FROM (0) TO (1073741824) ${appendOnly};
CREATE TABLE emcache.batch_p1 PARTITION OF emcache.batch FOR VALUES FROM (1073741824) TO (2147483648) ${appendOnly};
CREATE TABLE emcache.oplog_p0 PARTITION OF emcache.oplog FOR VALUES FROM (0) TO (1073741824) ${appendOnly};
CREATE TABLE emcache.oplog_p1 PARTITION OF emcache.oplog FOR VALUES FROM (1073741824) TO (2147483648) ${appendOnly};

-- One capturing process a source. Whoever appends holds FOR SHARE; whoever takes over updates.
CREATE TABLE emcache.source_lease (
  source   text PRIMARY KEY,
  epoch    bigint NOT NULL DEFAULT 0,   -- rises with each taker
  beat     bigint NOT NULL DEFAULT 0,   -- rises while the holder lives
  holder   text NOT NULL DEFAULT '',    -- the application_name of the holder's connections
  released boolean NOT NULL DEFAULT true
) ${hotRow};

CREATE TABLE emcache.source_checkpoint (
  source                text PRIMARY KEY,
  resume_token          bytea,
  cluster_time          bigint,
  lookup_horizon        bigint,
  -- The source's appends are counted: one that was sent twice, or arrives late, is recognised.
  append_number         bigint NOT NULL DEFAULT 0,
  append_tag            text NOT NULL DEFAULT '',
  append_first_position bigint NOT NULL DEFAULT 0
) ${hotRow};

CREATE TABLE emcache.copy (
  version            integer PRIMARY KEY,
  source             text NOT NULL,
  copy_id            text NOT NULL,
  state              text NOT NULL CHECK (state IN ('running', 'done')),
  last_id            bytea,
  row_count          bigint NOT NULL,
  row_count_estimate bigint NOT NULL,
  updated_at         timestamptz NOT NULL DEFAULT now()
) ${hotRow};

-- Versions whose cache, in whatever process, can't be built from the log: their collection is to be copied again.
CREATE TABLE emcache.copy_request (
  version      integer PRIMARY KEY,
  requested_at timestamptz NOT NULL DEFAULT now()
);

-- Where a cache of a version can begin: at the newest copy that came to its end, else at the one that runs.
CREATE TABLE emcache.copy_bracket (
  version                 integer PRIMARY KEY,
  start_position          bigint NOT NULL,
  complete_start_position bigint
);

CREATE TABLE emcache.entity_version (
  version          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name             text NOT NULL,
  definition       text NOT NULL,       -- JSON
  state            text NOT NULL CHECK (state IN ('pending', 'live', 'retired')),
  created_at       timestamptz NOT NULL DEFAULT now(),
  deleted_position bigint               -- the head when it was deleted; null while it is served
);
CREATE UNIQUE INDEX entity_version_live ON emcache.entity_version (name)
  WHERE state = 'live' AND deleted_position IS NULL;
CREATE UNIQUE INDEX entity_version_pending ON emcache.entity_version (name)
  WHERE state = 'pending' AND deleted_position IS NULL;

CREATE TABLE emcache.reject (
  version       integer NOT NULL,
  key           text NOT NULL,          -- hash of document and column
  doc_id        text NOT NULL,
  column_name   text,
  reason        text NOT NULL,
  sample        text NOT NULL,
  seen_count    bigint NOT NULL DEFAULT 1,
  first_seen_at timestamptz NOT NULL DEFAULT now(),
  last_seen_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (version, key)
);
CREATE TABLE emcache.reject_total (
  version integer PRIMARY KEY,
  total   bigint NOT NULL               -- also of those that the bound kept out of emcache.reject
) ${hotRow};

-- What readers still need. Times are the database's own: no two machines' clocks are compared.
CREATE TABLE emcache.claim (
  name         text PRIMARY KEY,
  kind         text NOT NULL CHECK (kind IN ('cache', 'consumer')),
  versions     integer[] NOT NULL,
  position     bigint NOT NULL,
  refreshed_at timestamptz NOT NULL DEFAULT now()
) ${hotRow};

CREATE TABLE emcache.snapshot (
  id        text PRIMARY KEY,
  version   integer NOT NULL,
  entity    text NOT NULL,
  position  bigint NOT NULL,
  manifest  text NOT NULL,              -- JSON
  holder    text NOT NULL,
  path      text NOT NULL,
  listed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX snapshot_version ON emcache.snapshot (version, position);
`,
};
