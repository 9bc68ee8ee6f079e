/** What the catalogue says of one error code. */
export interface ErrorDefinition {
  /** HTTP status where the API answers with it. */
  readonly status: number;
  /** The kind of error in a few words; the same for every occurrence (RFC 9457, `title`). */
  readonly title: string;
  /** What an operator can do about it. */
  readonly hint: string;
  /** Whether the same request can succeed later without anyone changing anything. */
  readonly retryable: boolean;
}

/**
 * Every error that EMCache reports, by its code. `docs/errors.md` is generated from this table.
 * A code is stable: programs may branch on it; titles and hints may change.
 */
export const ERROR_CATALOGUE = {
  bad_request: {
    status: 400,
    title: "The request is not what the route expects",
    hint: "Each entry of `errors` names the place in the request, what was wrong and what would be right.",
    retryable: false,
  },
  body_not_json: {
    status: 400,
    title: "The body is not JSON",
    hint: "Send JSON with `content-type: application/json`.",
    retryable: false,
  },
  not_found: {
    status: 404,
    title: "There is no such route",
    hint: "See `/docs` for the routes.",
    retryable: false,
  },
  method_not_allowed: {
    status: 405,
    title: "The route does not have this method",
    hint: "The header `allow` lists the methods that it has.",
    retryable: false,
  },
  content_type_unsupported: {
    status: 415,
    title: "The body is of a type that the route does not take",
    hint: "Send JSON with `content-type: application/json`.",
    retryable: false,
  },
  unauthorized: {
    status: 401,
    title: "The request carries no valid token",
    hint: "Send `authorization: Bearer TOKEN`; `emcache token create NAME --scope read` makes a token, `--token` or EMCACHE_TOKEN gives it to the commands.",
    retryable: false,
  },
  forbidden: {
    status: 403,
    title: "The token does not allow this",
    hint: "`detail` says what it lacks; `emcache token list` shows scopes and entities of all tokens.",
    retryable: false,
  },
  keys_unavailable: {
    status: 503,
    title: "The keys that sign JSON Web Tokens can't be fetched",
    hint: "Check `server.jwt.jwks_url`, and that this machine reaches it.",
    retryable: true,
  },
  token_exists: {
    status: 409,
    title: "A token of this name exists",
    hint: "Choose another name, or revoke the token first.",
    retryable: false,
  },
  token_not_found: {
    status: 404,
    title: "There is no token of this name",
    hint: "`emcache token list` lists the tokens.",
    retryable: false,
  },
  rate_limited: {
    status: 429,
    title: "More requests than `server.rate_limit` allows",
    hint: "Try again after the seconds in `retry-after`.",
    retryable: true,
  },
  query_invalid: {
    status: 400,
    title: "The query can't be run",
    hint: "One SELECT over the entity's view (its name) or its table `data`, in SQLite's SQL, with as many parameters as it has placeholders; nothing is written or attached.",
    retryable: false,
  },
  query_not_ready: {
    status: 503,
    title: "There is nothing to query yet",
    hint: "GET /api/entities/{name} shows the entity's first copy; only processes with the role `replicate` have caches.",
    retryable: true,
  },
  query_too_expensive: {
    status: 422,
    title: "The query took longer than queries may",
    hint: "Select less, or give the shape an index for it; `server.query_timeout` is the limit. Whoever needs more reads the cache file or a snapshot by itself.",
    retryable: false,
  },
  listen_failed: {
    status: 503,
    title: "The API can't listen on its address",
    hint: "Choose another `server.port`, or stop the program that holds it.",
    retryable: false,
  },
  entity_invalid: {
    status: 400,
    title: "The entity definition has mistakes",
    hint: "Each entry of `errors` names the place in the definition, what was wrong and what would be right.",
    retryable: false,
  },
  entity_exists: {
    status: 409,
    title: "An entity of this name exists",
    hint: "Use PUT /api/entities/{name} to change it, or delete it first.",
    retryable: false,
  },
  entity_stopped: {
    status: 409,
    title: "The entity stopped at a document that can't be mapped",
    hint: "Look at its rejects; correct the document or change the definition, then POST /api/entities/{name}/resume copies it anew.",
    retryable: false,
  },
  entity_stale: {
    status: 409,
    title: "The entity's collection is gone, its rows are kept",
    hint: "POST /api/entities/{name}/resume copies what is there now; `on_drop` says what happens with a dropped collection.",
    retryable: false,
  },
  entity_not_found: {
    status: 404,
    title: "There is no entity of this name",
    hint: "GET /api/entities lists the entities.",
    retryable: false,
  },
  consumer_not_found: {
    status: 404,
    title: "There is no consumer of this name",
    hint: "GET /api/consumers lists those that named themselves with the header `emcache-consumer`.",
    retryable: false,
  },
  snapshot_not_found: {
    status: 404,
    title: "The entity has no snapshot yet",
    hint: "POST /api/snapshots/{entity} makes one once the entity's first copy is complete.",
    retryable: true,
  },
  snapshot_not_ready: {
    status: 503,
    title: "A snapshot can't be made yet",
    hint: "The entity's first copy is still running; GET /api/entities/{name} shows its progress.",
    retryable: true,
  },
  snapshot_damaged: {
    status: 500,
    title: "A snapshot failed its integrity check and was not listed",
    hint: "Look at the disk that holds `cache.base_dir`; the cache itself is checked and rebuilt if it is damaged.",
    retryable: true,
  },
  snapshot_elsewhere: {
    status: 503,
    title: "The snapshot lies on another process, which can't be reached from here",
    hint: "Set `server.advertise_url` on the process that holds it, so that requests are redirected to it, or store snapshots in object storage (`snapshot.store.bucket`).",
    retryable: true,
  },
  point_unreachable: {
    status: 410,
    title: "No snapshot and oplog lead to this point in time",
    hint: "`details` has the range that is possible. `snapshot.keep_age` and `retention.age` say how far back it reaches.",
    retryable: false,
  },
  restore_refused: {
    status: 503,
    title: "Too many or too large files are being made for requests",
    hint: "Try again in a while, or raise `snapshot.restore_bytes_max`.",
    retryable: true,
  },
  object_store_unavailable: {
    status: 503,
    title: "The object storage can't be used",
    hint: "Check `snapshot.store.*`, that the bucket exists, and that the key may read, write, list and delete in it; it is tried again.",
    retryable: true,
  },
  position_too_old: {
    status: 410,
    title: "The oplog no longer holds this position",
    hint: "Start from the entity's snapshot (GET /api/snapshots/{entity}) and read on from its position.",
    retryable: false,
  },
  history_mismatch: {
    status: 409,
    title: "The reader's history is not this log's history",
    hint: "The log was restored or replaced since; start from a snapshot.",
    retryable: false,
  },
  oplog_hole: {
    status: 500,
    title: "The oplog misses positions",
    hint: "A batch was removed by something other than EMCache; restore PostgreSQL or delete and re-create the entities.",
    retryable: false,
  },
  config_invalid: {
    status: 500,
    title: "The configuration has mistakes",
    hint: "Each line names the key, what was wrong and what would be right; see docs/configuration.md.",
    retryable: false,
  },
  postgres_unavailable: {
    status: 503,
    title: "PostgreSQL can't be reached",
    hint: "Check `database.postgres.uri` and that the server accepts connections; EMCache goes on by itself when it returns.",
    retryable: true,
  },
  postgres_unsuitable: {
    status: 503,
    title: "This PostgreSQL can't hold the oplog",
    hint: "EMCache needs PostgreSQL 13 or newer and a user that may create tables in its database.",
    retryable: false,
  },
  embedded_postgres_failed: {
    status: 503,
    title: "The embedded PostgreSQL did not start",
    hint: "The message holds its last log lines; the data directory is `postgres` under `data_dir`.",
    retryable: true,
  },
  demo_failed: {
    status: 503,
    title: "The demo can't begin",
    hint: "The message says what stands in its way.",
    retryable: false,
  },
  schema_newer: {
    status: 503,
    title: "The database was migrated by a newer EMCache",
    hint: "Start at least the version that migrated it; a downgrade is not possible. To go back all the same, restore a backup of PostgreSQL made before the upgrade, or use an empty database: everything is then copied anew.",
    retryable: false,
  },
  schema_in_use: {
    status: 503,
    title: "The database is used by processes of an older EMCache",
    hint: "This upgrade can't run beside them: stop the processes that `detail` names. It goes on by itself within two minutes of their end.",
    retryable: true,
  },
  lease_lost: {
    status: 503,
    title: "Another process captures this source now",
    hint: "Nothing to do: the process that holds the lease goes on.",
    retryable: true,
  },
  source_unavailable: {
    status: 503,
    title: "The MongoDB source can't be reached",
    hint: "Check `sources.NAME.uri` and the server; capture goes on by itself when it returns.",
    retryable: true,
  },
  source_unsuitable: {
    status: 503,
    title: "This MongoDB server has no change streams",
    hint: "Change streams need a replica set or a sharded cluster of version 4.4 or newer: start mongod with --replSet and run rs.initiate().",
    retryable: true,
  },
  source_unauthorized: {
    status: 503,
    title: "The MongoDB user lacks a privilege",
    hint: "Grant the role `read` on the source's database: it allows find and changeStream on every collection.",
    retryable: true,
  },
  source_history_lost: {
    status: 503,
    title: "The source's oplog no longer holds the checkpoint",
    hint: "The source's entities are copied anew while the old data is served; enlarge the MongoDB oplog if this recurs.",
    retryable: true,
  },
  source_event_invalid: {
    status: 500,
    title: "The change stream sent something that is not a change event",
    hint: "Report it with the server's version.",
    retryable: true,
  },
  cache_damaged: {
    status: 500,
    title: "A cache file is damaged or was changed by another program",
    hint: "It was set aside as `*.damaged-<when>-<why>` and is being rebuilt; nobody reads it under its name.",
    retryable: true,
  },
  cache_unavailable: {
    status: 503,
    title: "The cache directory can't be written",
    hint: "Check free space and rights of `cache.base_dir`; the caches go on by themselves.",
    retryable: true,
  },
  overloaded: {
    status: 429,
    title: "More readers of the log than this process serves",
    hint: "Try again after the seconds in `retry-after`; start further processes with the role `api`, or put an HTTP cache in front.",
    retryable: true,
  },
  server_unreachable: {
    status: 503,
    title: "The EMCache server can't be reached or can't answer now",
    hint: "The client serves its files meanwhile and goes on by itself; check the URL, the network and the server's /health.",
    retryable: true,
  },
  server_refused: {
    status: 403,
    title: "The EMCache server refuses this client",
    hint: "Check the client's token, and what it allows.",
    retryable: false,
  },
  answer_invalid: {
    status: 502,
    title: "What answered is not what an EMCache server says",
    hint: "Check the URL and any proxy on the way: an answer was cut, repeated or meant for another request. It is asked again.",
    retryable: true,
  },
  download_damaged: {
    status: 502,
    title: "A downloaded snapshot is not what the server announced",
    hint: "It was thrown away and is fetched again; if this recurs, look at the network and any proxy on the way.",
    retryable: true,
  },
  directory_locked: {
    status: 503,
    title: "Another process keeps its caches in this directory",
    hint: "Give each client a directory of its own, or open the other one's files for reading only (any SQLite library can).",
    retryable: false,
  },
  wait_timed_out: {
    status: 504,
    title: "The caches did not get that far in the time given",
    hint: "`cache.status()` says how far each entity is and why; wait for longer, or read what there is.",
    retryable: true,
  },
  client_closed: {
    status: 503,
    title: "The client was closed",
    hint: "Open it again with `openCache`.",
    retryable: false,
  },
  verification_not_ready: {
    status: 503,
    title: "The entity can't be verified now",
    hint: "GET /api/entities/{name} says what its cache waits for: it can be verified once its copy is complete and its source is captured.",
    retryable: true,
  },
  too_large: {
    status: 413,
    title: "The request is too large",
    hint: "Send less at once.",
    retryable: false,
  },
  internal: {
    status: 500,
    title: "An error inside EMCache",
    hint: "The server's log has the details under the same instance; please report it.",
    retryable: true,
  },
} as const satisfies Record<string, ErrorDefinition>;

/** A code of the catalogue. */
export type ErrorCode = keyof typeof ERROR_CATALOGUE;
