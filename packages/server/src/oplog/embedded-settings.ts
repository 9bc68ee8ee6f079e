/**
 * Server settings of the embedded PostgreSQL, each with its reason. Given on the command line at every start.
 *
 * @param majorVersion of the server: an older data directory may be served by programs of its own version
 */
export function embeddedSettings(
  socketDir: string,
  connectionsMax: number,
  majorVersion: number,
): Readonly<Record<string, string>> {
  return {
    // Reachable only through a socket in a directory that only the server's user (and root) may enter.
    listen_addresses: "",
    unix_socket_directories: socketDir,
    unix_socket_permissions: "0700",
    // The pool, the connections beside it (lease, signal), and a few for an operator's psql.
    max_connections: String(connectionsMax + 20),
    // An acknowledged append survives a power cut: the checkpoint in MongoDB's oplog moves with it.
    fsync: "on",
    synchronous_commit: "on",
    full_page_writes: "on",
    // Nobody replicates from a private server: less is written.
    wal_level: "minimal",
    max_wal_senders: "0",
    // A first copy writes gigabytes at once; fewer forced checkpoints.
    max_wal_size: "2GB",
    // Statements are short and touch few rows: compiling them or starting workers for them costs more than it saves,
    // and parallel workers need more /dev/shm than containers have.
    jit: "off",
    max_parallel_workers_per_gather: "0",
    // No extra processes for reads that are nearly always cached.
    ...(majorVersion >= 18 ? { io_method: "sync" } : {}),
    // The rows that each append rewrites are cleaned before they grow.
    autovacuum_naptime: "15s",
    // A statement whose client died ends, and with it its locks.
    ...(majorVersion >= 14 ? { client_connection_check_interval: "2s" } : {}),
    // Errors are reported by us where they matter; statements hold the operator's data and stay out of the log.
    log_min_error_statement: "panic",
    log_checkpoints: "off",
    log_line_prefix: "",
    lc_messages: "C",
  };
}
