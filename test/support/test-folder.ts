import { chmodSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A new folder for files of tests. Every user can enter it, since the embedded PostgreSQL runs as a user of its own
 * when the tests run as root.
 */
export function makeTestFolder(name: string): string {
  const parent = join(tmpdir(), "emcache-test");
  mkdirSync(parent, { recursive: true, mode: 0o755 });
  const folder = mkdtempSync(join(parent, `${name}-`));
  // mkdtemp makes it its maker's alone.
  chmodSync(folder, 0o755);
  return folder;
}
