import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { SiteFile, SitePort } from "../api/api-dependencies.ts";

/** Beside this file: TypeScript in a checkout, JavaScript in the published package. */
const PAGE_FOLDER = join(import.meta.dirname, "page");

const TYPES: Readonly<Record<string, string>> = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml; charset=utf-8",
};

/** The modules of others that the page imports; its import map names them by these paths. */
const LIBRARIES: Readonly<Record<string, string>> = {
  "preact.js": "preact",
  "preact-hooks.js": "preact/hooks",
};

/**
 * The files of the web page. It is not bundled: the browser loads its modules as they are, some 20 small ones, so that
 * a checkout needs no build. Where they are TypeScript, their types are taken off on the way, as Node does it for the
 * server. Files are read at each request: they are few, small and asked for once a visit.
 */
export class DashboardFiles implements SitePort {
  #policy: Promise<string> | null = null;

  contentSecurityPolicy(): Promise<string> {
    this.#policy ??= this.#readPolicy();
    return this.#policy;
  }

  async page(): Promise<SiteFile> {
    return { body: await readFile(join(PAGE_FOLDER, "index.html")), type: "text/html; charset=utf-8" };
  }

  async asset(path: string): Promise<SiteFile | null> {
    const library = Object.hasOwn(LIBRARIES, path) ? LIBRARIES[path] : undefined;
    if (library !== undefined) return { body: await readLibrary(library), type: TYPES[".js"] ?? "" };
    // One folder, plain names: nothing outside of it can be named.
    if (!/^[a-z0-9-]+\.(?:js|ts|css|svg)$/.test(path)) return null;
    const source = await readPageFile(path);
    if (source !== null && !path.endsWith(".ts")) return { body: source, type: TYPES[extname(path)] ?? "" };
    // index.html names main.js, which in a checkout is main.ts.
    const typed = source ?? (path.endsWith(".js") ? await readPageFile(path.replace(/js$/, "ts")) : null);
    if (typed === null) return null;
    return { body: Buffer.from(stripTypeScriptTypes(typed.toString())), type: TYPES[".js"] ?? "" };
  }

  /** Only our own files, and the one inline script that is not code: the import map, by its hash. */
  async #readPolicy(): Promise<string> {
    const { body } = await this.page();
    const importMap = /<script type="importmap">(.*?)<\/script>/s.exec(body.toString())?.[1] ?? "";
    const hash = createHash("sha256").update(importMap).digest("base64");
    const own = ["style-src", "img-src", "connect-src", "manifest-src"].map((kind) => `${kind} 'self'`);
    const none = ["default-src", "base-uri", "form-action", "frame-ancestors"].map((kind) => `${kind} 'none'`);
    return [...none, `script-src 'self' 'sha256-${hash}'`, ...own, "require-trusted-types-for 'script'"].join("; ");
  }
}

async function readPageFile(name: string): Promise<Buffer | null> {
  try {
    return await readFile(join(PAGE_FOLDER, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

async function readLibrary(specifier: string): Promise<Buffer> {
  const text = await readFile(fileURLToPath(import.meta.resolve(specifier)), "utf8");
  // Its map is not served.
  return Buffer.from(text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n"));
}
