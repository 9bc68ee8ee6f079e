import { rmSync } from "node:fs";
import { afterAll, afterEach } from "vitest";
import { makeTestFolder } from "./test-folder.ts";

/**
 * A new folder for one test file's files, removed after its tests unless one failed: then it is kept, with the logs
 * in it, and named. Call it before other hooks are registered: theirs run first at the end.
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
