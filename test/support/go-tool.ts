import { execFile } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Building one compiles its dependencies: minutes on two busy cores. */
const INSTALL_DEADLINE_MS = 900_000;

const cache = fileURLToPath(new URL("../../node_modules/.cache/emcache-go", import.meta.url));

/** Whether programs can be built from Go modules here; where not, tests that need one are skipped by name. */
export async function hasGo(): Promise<boolean> {
  return run("go", ["version"]).then(
    () => true,
    () => false,
  );
}

/**
 * The path of a program that is built from a Go module at the first call on this machine.
 *
 * @param packagePath with its release, as `github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0`
 */
export async function goTool(packagePath: string): Promise<string> {
  const [path = "", version = ""] = packagePath.split("@");
  const folder = join(cache, version);
  const program = join(folder, path.split("/").at(-1) ?? "");
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  await run("go", ["install", packagePath], { env: { ...process.env, GOBIN: folder }, timeout: INSTALL_DEADLINE_MS });
  return program;
}
