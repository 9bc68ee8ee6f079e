import { execFile } from "node:child_process";
import { mkdir, chown, readFile, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { EmcacheError } from "@emcache/protocol";
import type { Logger } from "../runtime/logger.ts";
import type { EmbeddedBinaries } from "./embedded-binaries.ts";
import type { ServerUser } from "./server-user.ts";

const run = promisify(execFile);

/** Prefix of the directories in which earlier versions left copies of their programs, see `embeddedBinaries`. */
const PROGRAMS_PREFIX = "postgres-programs-";

export interface SettleClusterOptions {
  readonly clusterDir: string;
  /** Where copies of programs lie. */
  readonly programsDir: string;
  /** The programs that this EMCache brings. */
  readonly own: EmbeddedBinaries;
  readonly user: ServerUser | null;
  readonly logger: Logger;
  /** Called before a data directory is set aside; what fails in it keeps the directory in its place. */
  readonly beforeSetAside: () => Promise<void>;
  /** Further directories with programs of older versions; the usual places of packages by default. */
  readonly systemDirs?: (majorVersion: string) => readonly string[];
}

/**
 * Sees that there is a data directory, and says with which programs it is served. PostgreSQL reads only directories of
 * its own major version. One of another version is served by the programs of that version where they are on this
 * machine. An older one without them is set aside as `postgres.set-aside-VERSION-TIME`, complete, and a new one takes
 * its place, which is filled by copying anew from the sources. A newer one is a downgrade, and refused.
 *
 * @throws embedded_postgres_failed
 */
export async function settleCluster(options: SettleClusterOptions): Promise<EmbeddedBinaries> {
  const { clusterDir, own, logger } = options;
  const found = (await readFile(join(clusterDir, "PG_VERSION"), "utf8").catch(() => null))?.trim() ?? null;
  if (found === own.majorVersion) return own;
  if (found !== null) {
    const other = await programsOf(found, options);
    if (other !== null) {
      logger.warn(
        { event: "embedded_postgres_older", clusterDir, majorVersion: found, programs: dirname(other.postgres) },
        `the embedded database stays on PostgreSQL ${found}; this EMCache brings ${own.majorVersion}`,
      );
      return other;
    }
    if (!(Number(found) < Number(own.majorVersion))) throw newerError(clusterDir, found, own.majorVersion);
    await setAside(found, options);
  }
  await makeCluster(options);
  return own;
}

function newerError(clusterDir: string, found: string, own: string): EmcacheError {
  return new EmcacheError(
    "embedded_postgres_failed",
    `${clusterDir} was made by PostgreSQL ${found}; the embedded server is PostgreSQL ${own}`,
    {
      hint: `Start the EMCache version that made it, or install PostgreSQL ${found}'s programs, or move the directory away: everything is then copied anew from the sources.`,
    },
  );
}

async function setAside(found: string, options: SettleClusterOptions): Promise<void> {
  const { clusterDir, own, logger } = options;
  await options.beforeSetAside();
  const when = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const aside = `${clusterDir}.set-aside-${found}-${when}`;
  await rename(clusterDir, aside);
  logger.error(
    { event: "embedded_postgres_set_aside", clusterDir, aside, majorVersion: found, ownMajorVersion: own.majorVersion },
    `the embedded database was made by PostgreSQL ${found}, whose programs are not on this machine (this EMCache brings ` +
      `${own.majorVersion}): it was set aside as ${aside}, and everything is copied anew from the sources`,
  );
}

/** Makes the data directory beside its place and renames it, so that a broken-off attempt leaves nothing half made. */
async function makeCluster({ clusterDir, own, user }: SettleClusterOptions): Promise<void> {
  const fresh = `${clusterDir}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true, mode: 0o700 });
  if (user !== null) await chown(fresh, user.uid, user.gid);
  // C: identifiers compare as bytes, whatever this machine's locales are. trust: the socket's directory is the lock.
  const settings = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"];
  await run(own.initdb, [`--pgdata=${fresh}`, ...settings], { ...user, cwd: fresh });
  await rename(fresh, clusterDir);
}

/** Programs of a major version: those that an earlier EMCache copied, or a package's. Null where none of them runs. */
async function programsOf(
  majorVersion: string,
  { programsDir, user, systemDirs = packagedDirs }: SettleClusterOptions,
): Promise<EmbeddedBinaries | null> {
  if (!/^\d+$/.test(majorVersion)) return null;
  const names = await readdir(programsDir).catch(() => []);
  const copies = names
    .filter((name) => name.startsWith(`${PROGRAMS_PREFIX}${majorVersion}.`) && !name.endsWith(".partial"))
    .map((name) => join(programsDir, basename(name), "bin"));
  for (const directory of [...copies, ...systemDirs(majorVersion)]) {
    const programs = { initdb: join(directory, "initdb"), postgres: join(directory, "postgres"), majorVersion };
    const said = await run(programs.postgres, ["--version"], { ...user, cwd: "/" }).catch(() => null);
    if (said !== null && / (\d+)/.exec(said.stdout)?.[1] === majorVersion) return programs;
  }
  return null;
}

/** Where Debian's and Red Hat's packages and Homebrew put a version's programs. */
function packagedDirs(majorVersion: string): string[] {
  return [
    `/usr/lib/postgresql/${majorVersion}/bin`,
    `/usr/pgsql-${majorVersion}/bin`,
    `/opt/homebrew/opt/postgresql@${majorVersion}/bin`,
    `/usr/local/opt/postgresql@${majorVersion}/bin`,
  ];
}
