import type { Migration } from "./migration.ts";

/** What a verification, in whatever process, wants of the process that captures its source. */
export const streamRequests: Migration = {
  version: 6,
  name: "stream requests",
  isAdditive: true,
  sql: `
CREATE TABLE emcache.stream_request (
  id            uuid PRIMARY KEY,
  source        text NOT NULL,
  cluster_time  bigint NOT NULL,        -- the stream is to have passed it; a BSON timestamp's 64 bits, as signed
  collection    text NOT NULL,
  document_keys bytea[] NOT NULL,       -- BSON {_id: …} of what is to be read and logged once more
  is_done       boolean NOT NULL DEFAULT false,
  asked_at      timestamptz NOT NULL DEFAULT now()
);
`,
};
