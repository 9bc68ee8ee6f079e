import { execFile } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { EmcacheError } from "@emcache/protocol";

const run = promisify(execFile);

/** The operating system's user that the embedded server runs as. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** Name that we look for, and make, where we are root: PostgreSQL refuses to run as root. */
const USER_NAME = "postgres";

/** The user for the embedded server: null for our own; where we are root, `postgres`, which is made if missing. */
export async function serverUser(): Promise<ServerUser | null> {
  if (process.getuid?.() !== 0) return null;
  const known = await findUser();
  if (known !== null) return known;
  try {
    await run("groupadd", ["--system", USER_NAME]).catch(() => undefined);
    await run("useradd", ["--system", "--gid", USER_NAME, "--no-create-home", "--shell", "/bin/false", USER_NAME]);
  } catch (error) {
    throw new EmcacheError(
      "embedded_postgres_failed",
      `PostgreSQL can't run as root, and no user "${USER_NAME}" could be made`,
      {
        hint: "Run EMCache as a normal user, or make a user `postgres`.",
        cause: error,
      },
    );
  }
  const made = await findUser();
  if (made !== null) return made;
  throw new EmcacheError("embedded_postgres_failed", `the user "${USER_NAME}" was made but is not found`);
}

async function findUser(): Promise<ServerUser | null> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", USER_NAME]), run("id", ["-g", USER_NAME])]);
    return { uid: Number.parseInt(uid.stdout, 10), gid: Number.parseInt(gid.stdout, 10) };
  } catch {
    return null;
  }
}

/** The nearest directory from `path` up to the root that `user` may not enter; null where all can be entered. */
export async function barredDirectory(path: string, user: ServerUser | null): Promise<string | null> {
  for (let directory = path; ; directory = dirname(directory)) {
    if (!(await mayEnter(directory, user))) return directory;
    if (directory === dirname(directory)) return null;
  }
}

async function mayEnter(directory: string, user: ServerUser | null): Promise<boolean> {
  if (user === null) {
    return access(directory, constants.X_OK).then(
      () => true,
      () => false,
    );
  }
  const { uid, gid, mode } = await stat(directory);
  if (uid === user.uid) return (mode & 0o100) !== 0;
  if (gid === user.gid) return (mode & 0o010) !== 0;
  return (mode & 0o001) !== 0;
}
