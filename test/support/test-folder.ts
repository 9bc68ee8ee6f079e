import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A new folder for one test's files. Its parents can be entered by every user, since the embedded PostgreSQL runs as
 * a user of its own when the tests run as root.
 */
export function makeTestFolder(name: string): string {
  const parent = join(tmpdir(), "emcache-test");
  mkdirSync(parent, { recursive: true, mode: 0o755 });
  return mkdtempSync(join(parent, `${name}-`));
}

/** Removes it, unless `EMCACHE_TEST_KEEP` says to keep everything for a look. */
export function removeTestFolder(folder: string): void {
  if (process.env["EMCACHE_TEST_KEEP"] !== undefined) return;
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
