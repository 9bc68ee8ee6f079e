import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach } from "vitest";

/**
 * A new folder for one test file's files, removed after its tests unless one failed: then it is kept, with the logs
 * in it, and named. Its parents can be entered by every user, since the embedded PostgreSQL runs as a user of its own
 * when the tests run as root. Call it before other hooks are registered: theirs run first at the end.
 */
export function useTestFolder(name: string): string {
  const folder = makeTestFolder(name);
  let hasFailed = false;
  afterEach(({ task }) => {
    if (task.result?.state === "fail") hasFailed = true;
  });
  afterAll(() => {
    if (hasFailed) console.error(`kept for a look: ${folder}`);
    else rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}

/** The same without the hooks. */
export function makeTestFolder(name: string): string {
  const parent = join(tmpdir(), "emcache-test");
  mkdirSync(parent, { recursive: true, mode: 0o755 });
  const folder = mkdtempSync(join(parent, `${name}-`));
  // mkdtemp makes it the test's alone.
  chmodSync(folder, 0o755);
  return folder;
}
