import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmcacheError } from "@emcache/protocol";
import type { Config } from "../config/config.ts";
import { clusterHome } from "../oplog/cluster-home.ts";
import { EmbeddedPostgres } from "../oplog/embedded-postgres.ts";
import { barredDirectory, serverUser } from "../oplog/server-user.ts";
import { messageOf } from "../runtime/error-message.ts";
import { createLogger } from "../runtime/logger.ts";
import { existingAncestor } from "./doctor-disk.ts";
import type { DoctorReport } from "./doctor-report.ts";

/** The trial server is asked nothing. */
const CONNECTIONS_MAX = 5;
const STOP_TIMEOUT_MS = 5_000;

/**
 * Checks whether the embedded PostgreSQL can run: one is started in a temporary folder and removed, so that the data
 * directory is not touched, and a server that runs there isn't either.
 */
export async function checkEmbeddedPostgres(
  { dataDir }: Config,
  report: DoctorReport,
  signal: AbortSignal,
): Promise<void> {
  const home = clusterHome(dataDir);
  const made = await readFile(join(home.clusterDir, "PG_VERSION"), "utf8").catch(() => null);
  const state = made === null ? "the first start makes it" : `it holds data of PostgreSQL ${made.trim()}`;
  report.ok("place", `embedded, in ${home.clusterDir}: ${state}`);
  if (process.getuid?.() === 0) {
    report.ok("user", "this is root, as which PostgreSQL does not run: its server runs as the system's user postgres");
  }
  const barred = await barredDirectory(existingAncestor(home.programsDir), await serverUser());
  if (barred !== null) {
    const fix = `Set data_dir to a place outside of it (for example /var/lib/emcache), or run: chmod o+x ${barred}`;
    return report.fail("place", `the server's user may not enter ${barred}`, fix);
  }
  await tryStart(report, signal);
}

async function tryStart(report: DoctorReport, signal: AbortSignal): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "emcache-doctor-"));
  // mkdtemp makes it ours alone; the server's user must be able to pass.
  await chmod(folder, 0o711);
  const logger = createLogger({ level: "silent" });
  const server = new EmbeddedPostgres({ dataDir: folder, connectionsMax: CONNECTIONS_MAX, logger });
  try {
    await server.start(signal);
    report.ok("start", "a trial server started and answered");
  } catch (error) {
    signal.throwIfAborted();
    const hint = error instanceof EmcacheError ? error.hint : "";
    report.fail("start", messageOf(error), `${hint} Or use a PostgreSQL of your own: database.postgres.uri.`.trim());
  } finally {
    await server.stop(AbortSignal.timeout(STOP_TIMEOUT_MS)).catch(() => "it ends with its folder");
    await rm(folder, { recursive: true, force: true });
  }
}
