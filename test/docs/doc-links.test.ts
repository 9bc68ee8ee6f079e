import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const LINK = /\]\((?!https?:|#)(?<path>[^)#\s]+)(?:#[^)]*)?\)/g;

test("every link of README and docs to a file leads to one", () => {
  const files = [
    "README.md",
    ...readdirSync(join(root, "docs"))
      .filter((name) => name.endsWith(".md"))
      .map((name) => join("docs", name)),
  ];
  const broken = files.flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8").replaceAll(/^ *```.*?^ *```/gms, "");
    const paths = [...text.matchAll(LINK)].map(({ groups }) => groups?.["path"] ?? "");
    return paths.filter((path) => !existsSync(join(root, dirname(file), path))).map((path) => `${file}: ${path}`);
  });
  expect(broken).toEqual([]);
});
