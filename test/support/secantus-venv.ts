import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { eventually } from "./eventually.ts";

const run = promisify(execFile);

/** The independent server's release; newer ones are taken on purpose, not by chance. */
const SECANTUS_VERSION = "0.7.0b3";

/** Making the environment downloads some 40 MB; a slow line gets this long. */
const INSTALL_DEADLINE_MS = 280_000;

const root = fileURLToPath(new URL("../..", import.meta.url));
const environment = join(root, "node_modules", ".cache", `emcache-secantus-${SECANTUS_VERSION}`);

/**
 * The Python environment that holds SecantusDB, made at the first call on this machine; several test processes may
 * call it at once.
 *
 * @returns the path of the program `secantusd-py`
 * @throws Error that says what to install, where Python or its module `venv` is missing: the tests that need a source
 * fail then, they are not skipped
 */
export async function secantusProgram(): Promise<string> {
  const program = join(environment, "bin", "secantusd-py");
  const completeMark = join(environment, "complete");
  if (existsSync(completeMark)) return program;
  mkdirSync(dirname(environment), { recursive: true });
  // Virtual environments can't be renamed (their scripts hold the path), so a lock beside it and a mark inside it.
  const lock = `${environment}.lock`;
  await eventually(() => existsSync(completeMark) || takeLock(lock), INSTALL_DEADLINE_MS, `${lock} to become free`);
  if (existsSync(completeMark)) {
    releaseLock(lock);
    return program;
  }
  try {
    await makeEnvironment();
    writeFileSync(completeMark, "");
  } finally {
    releaseLock(lock);
  }
  return program;
}

async function makeEnvironment(): Promise<void> {
  rmSync(environment, { recursive: true, force: true });
  try {
    await run("python3", ["-m", "venv", environment]);
  } catch (error) {
    throw new Error(
      "The tests need the MongoDB-compatible server SecantusDB, which runs in Python, and `python3 -m venv` failed. " +
        "On Debian and Ubuntu: apt-get install python3 python3-venv. " +
        "Or name a MongoDB replica set in EMCACHE_TEST_MONGO_URI. " +
        `What Python said: ${outputOf(error)}`,
      { cause: error },
    );
  }
  try {
    const pip = join(environment, "bin", "pip");
    await run(pip, ["install", "--quiet", "--disable-pip-version-check", `secantusdb==${SECANTUS_VERSION}`], {
      timeout: INSTALL_DEADLINE_MS,
    });
  } catch (error) {
    throw new Error(`pip install secantusdb==${SECANTUS_VERSION} failed: ${outputOf(error)}`, { cause: error });
  }
}

/** Whether this process holds the lock now. A lock whose holder is gone is taken away from it. */
function takeLock(lock: string): boolean {
  try {
    mkdirSync(lock);
  } catch {
    const holder = holderOf(lock);
    if (holder !== null && holder !== process.pid && !isAlive(holder)) rmSync(lock, { recursive: true, force: true });
    return false;
  }
  writeFileSync(join(lock, "pid"), String(process.pid));
  return true;
}

function releaseLock(lock: string): void {
  if (holderOf(lock) === process.pid) rmSync(lock, { recursive: true, force: true });
}

function holderOf(lock: string): number | null {
  try {
    return Number(readFileSync(join(lock, "pid"), "utf8"));
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function outputOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { stdout, stderr } = error as Error & { stdout?: string; stderr?: string };
  return `${error.message}\n${stdout ?? ""}${stderr ?? ""}`.trim();
}
