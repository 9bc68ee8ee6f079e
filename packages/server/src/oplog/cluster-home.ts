import { createHash } from "node:crypto";
import { existsSync, lstatSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** Longest path of a Unix socket that every platform takes (macOS: 104 bytes with the end mark). */
const SOCKET_PATH_BYTES_MAX = 100;

/** Where the embedded server's files are for root where the data directory is no place for its user. */
const SYSTEM_DIR = "/var/lib/emcache";

/** Where the embedded server's files lie. Absolute paths. */
export interface ClusterHome {
  /** The server's data directory. */
  readonly clusterDir: string;
  /** Directory of its socket. */
  readonly socketDir: string;
  /** Directory for copies of its programs. */
  readonly programsDir: string;
  /** Whether this is outside of the data directory that the operator chose. */
  readonly isElsewhere: boolean;
}

/**
 * The place for the server's files: `postgres` in the data directory. Where we are root, PostgreSQL has to run as
 * another user; if that one can't enter the data directory (one under /root, say), a directory of the data directory's
 * own under /var/lib/emcache, so that root needs no settings either. Depends on nothing that a start changes.
 */
export function clusterHome(dataDir: string): ClusterHome {
  const inPlace = join(dataDir, "postgres");
  // A link there is ours, to elsewhere; files there are from when the directory could be entered.
  const isInPlace = lstatSync(inPlace, { throwIfNoEntry: false })?.isDirectory() === true;
  const isElsewhere = process.getuid?.() === 0 && !isInPlace && isBarred(dataDir);
  const key = createHash("sha256").update(dataDir).digest("hex").slice(0, 16);
  const home = isElsewhere ? join(SYSTEM_DIR, key) : dataDir;
  const near = join(home, "postgres-socket");
  const isShort = Buffer.byteLength(join(near, ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX;
  return {
    clusterDir: join(home, "postgres"),
    socketDir: isShort ? near : join(tmpdir(), `emcache-${key}`),
    programsDir: home,
    isElsewhere,
  };
}

/** Whether a directory that exists, from here up, lets nobody but its owner's group in. */
function isBarred(path: string): boolean {
  for (let directory = path; ; directory = dirname(directory)) {
    if (existsSync(directory) && (statSync(directory).mode & 0o001) === 0) return true;
    if (directory === dirname(directory)) return false;
  }
}
