import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

/*
 * The published packages as a user has them: built, packed by npm, unpacked into a node_modules outside the checkout.
 * Their dependencies are linked from ours instead of being downloaded.
 */
const root = resolve(import.meta.dirname, "..");
const modules = join(root, "node_modules");
let folder: string;

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "emcache-pack-"));
  run(process.execPath, [join(root, "scripts/build-packages.ts")], root);
  mkdirSync(join(folder, "node_modules/@emcache"), { recursive: true });
  for (const name of readdirSync(modules)) {
    if (["emcache", "@emcache"].includes(name) || name.startsWith(".")) continue;
    symlinkSync(join(modules, name), join(folder, "node_modules", name));
  }
  for (const [name, target] of [
    ["protocol", "@emcache/protocol"],
    ["cache-file", "@emcache/cache-file"],
    ["dev-mongo", "@emcache/dev-mongo"],
    ["client", "@emcache/client"],
    ["server", "emcache"],
  ] as const) {
    const tarball = run("npm", ["pack", "--silent", "--pack-destination", folder], join(root, "dist", name)).trim();
    mkdirSync(join(folder, "node_modules", target));
    run("tar", ["-xzf", join(folder, tarball), "--strip-components=1", "-C", join("node_modules", target)], folder);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the packed emcache runs, from its JavaScript", () => {
  const emcache = join(folder, "node_modules/emcache/bin/emcache");
  expect(run(emcache, ["--version"], folder)).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(run(emcache, ["config", "check"], folder)).toContain("The configuration is right.");
  expect(readdirSync(join(folder, "node_modules/emcache")).toSorted()).toEqual(
    expect.arrayContaining(["LICENSE", "bin", "dist", "package.json"]),
  );
});

test("the packed emcache has the web page, whose modules find each other", () => {
  const page = join(folder, "node_modules/emcache/dist/dashboard/page");
  const modules = readdirSync(page).filter((file) => file.endsWith(".js"));
  expect(modules).toContain("main.js");
  expect(readdirSync(page)).toEqual(expect.arrayContaining(["index.html", "style.css", "icon.svg"]));
  const imported = modules.flatMap((file) =>
    [...readFileSync(join(page, file), "utf8").matchAll(/from "\.\/([^"]+)"/g)].map((match) => match[1]),
  );
  expect(imported.length).toBeGreaterThan(20);
  expect(imported.filter((file) => !modules.includes(file ?? ""))).toEqual([]);
});

test("the packed packages hold neither sources nor tests", () => {
  for (const name of ["emcache", "@emcache/protocol", "@emcache/cache-file", "@emcache/client"]) {
    const files = readdirSync(join(folder, "node_modules", name), { recursive: true, encoding: "utf8" });
    expect(files.filter((file) => /(?<!\.d)\.ts$|\.test\.|\btesting\b/.test(file))).toEqual([]);
  }
});

test("a program in TypeScript gets the types of the packed packages", () => {
  const program = `
    import { CacheFile } from "@emcache/cache-file";
    import { EmcacheError, type Entity } from "@emcache/protocol";
    const error: string = new EmcacheError("internal", "x").code satisfies keyof any;
    export const wrong: number = new EmcacheError("internal", "x").hint;
    export type Opened = (path: string, entity: Entity) => CacheFile;
    export default error;
  `;
  writeFileSync(join(folder, "program.ts"), program);
  const tsc = join(modules, "typescript/bin/tsc");
  const options = ["--noEmit", "--strict", "--module", "nodenext", "--skipLibCheck", "false", "--types", "node"];
  const check = (): string => run(process.execPath, [tsc, ...options, "--target", "es2024", "program.ts"], folder);
  expect(check).toThrow(
    expect.objectContaining({ stdout: expect.stringMatching(/^program\.ts\(5,\d+\): error TS2322.*\n$/) }),
  );
});
