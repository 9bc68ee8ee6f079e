import { execFileSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

/**
 * Builds what is published: for each package a folder `dist/NAME` with JavaScript, declarations and a package.json
 * that points at them. Publish with `npm publish dist/NAME`. (In the checkout, the packages' own package.json points
 * at the sources, which Node runs as they are.)
 */

/** In the order in which they need each other's declarations. */
const PACKAGES = ["protocol", "cache-file", "client", "dev-mongo", "server"] as const;

/** The web page's files in the server's package. */
const PAGE = "src/dashboard/page";

interface PackageJson {
  readonly name: string;
  readonly publishConfig?: { readonly exports?: unknown };
  readonly [field: string]: unknown;
}

const root = resolve(import.meta.dirname, "..");

const output = join(root, "dist");

rmSync(output, { recursive: true, force: true });
for (const name of PACKAGES) buildPackage(name);

function buildPackage(name: (typeof PACKAGES)[number]): void {
  const source = join(root, "packages", name);
  const target = join(output, name);
  mkdirSync(target, { recursive: true });
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", join(source, "tsconfig.build.json")], { stdio: "inherit" });
  if (name === "server") buildPage(join(source, PAGE), join(target, PAGE.replace("src", "dist")), tsc);
  pointAtJavaScript(join(target, "dist"));
  for (const [from, file] of [
    [source, "bin"],
    [root, "LICENSE"],
    [root, "README.md"],
    [source, "README.md"],
  ] as const) {
    if (existsSync(join(from, file))) cpSync(join(from, file), join(target, file), { recursive: true });
  }
  const manifest = JSON.parse(readFileSync(join(source, "package.json"), "utf8")) as PackageJson;
  writeFileSync(join(target, "package.json"), `${JSON.stringify(publishedManifest(manifest), null, 2)}\n`);
  console.log(`built ${manifest.name} in ${target}`);
}

/** The web page is for browsers, so it is a program of its own to the compiler; the rest of it is copied. */
function buildPage(source: string, target: string, tsc: string): void {
  execFileSync(process.execPath, [tsc, "-p", join(source, "tsconfig.build.json")], { stdio: "inherit" });
  for (const file of globSync("*.{html,css,svg}", { cwd: source })) cpSync(join(source, file), join(target, file));
}

/**
 * tsc rewrites `./x.ts` to `./x.js` in the imports of JavaScript only. In declarations and in the URL of a worker
 * thread's file it is left to us.
 */
function pointAtJavaScript(folder: string): void {
  for (const file of globSync("**/*.{js,d.ts}", { cwd: folder })) {
    const path = join(folder, file);
    const text = readFileSync(path, "utf8");
    const rewritten = text.replaceAll(/(["'])(\.\.?\/[^"'\n]*)\.ts\1/g, "$1$2.js$1");
    if (rewritten !== text) writeFileSync(path, rewritten);
  }
}

/** npm publishes package.json as it is, without applying `publishConfig.exports`: so it is applied here. */
function publishedManifest({ devDependencies: _devDependencies, publishConfig, ...manifest }: PackageJson): object {
  return publishConfig?.exports === undefined ? manifest : { ...manifest, exports: publishConfig.exports };
}
