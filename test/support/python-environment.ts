import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { eventually } from "./eventually.ts";

const run = promisify(execFile);

/** Making the environment downloads some 40 MB; a slow line gets this long. */
const INSTALL_DEADLINE_MS = 280_000;

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * A Python environment that holds one package of PyPI, made at the first call on this machine; several test processes
 * may call it at once.
 *
 * @param requirement the package with its release, as `name==1.2.3`: newer ones are taken on purpose, not by chance
 * @returns the environment's folder; programs are in its `bin`
 * @throws Error that says what to install, where Python or its module `venv` is missing: the tests that need it fail
 * then, they are not skipped
 */
export async function pythonEnvironment(requirement: string): Promise<string> {
  const environment = join(root, "node_modules", ".cache", `emcache-${requirement.replace("==", "-")}`);
  const completeMark = join(environment, "complete");
  if (existsSync(completeMark)) return environment;
  mkdirSync(dirname(environment), { recursive: true });
  // Virtual environments can't be renamed (their scripts hold the path), so a lock beside it and a mark inside it.
  const lock = `${environment}.lock`;
  await eventually(() => existsSync(completeMark) || takeLock(lock), INSTALL_DEADLINE_MS, `${lock} to become free`);
  if (existsSync(completeMark)) {
    releaseLock(lock);
    return environment;
  }
  try {
    await makeEnvironment(environment, requirement);
    writeFileSync(completeMark, "");
  } finally {
    releaseLock(lock);
  }
  return environment;
}

async function makeEnvironment(environment: string, requirement: string): Promise<void> {
  rmSync(environment, { recursive: true, force: true });
  try {
    await run("python3", ["-m", "venv", environment]);
  } catch (error) {
    throw new Error(
      `The tests need ${requirement}, which runs in Python, and \`python3 -m venv\` failed. ` +
        "On Debian and Ubuntu: apt-get install python3 python3-venv. " +
        `What Python said: ${outputOf(error)}`,
      { cause: error },
    );
  }
  try {
    const pip = join(environment, "bin", "pip");
    await run(pip, ["install", "--quiet", "--disable-pip-version-check", requirement], {
      timeout: INSTALL_DEADLINE_MS,
    });
  } catch (error) {
    throw new Error(`pip install ${requirement} failed: ${outputOf(error)}`, { cause: error });
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
