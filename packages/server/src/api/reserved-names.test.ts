import { isReservedEntityName } from "@emcache/protocol";
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

/** Paths of all routes, as their files name them. */
function routePaths(): string[] {
  const folder = new URL("routes/", import.meta.url);
  return readdirSync(folder)
    .map((file) => readFileSync(new URL(file, folder), "utf8"))
    .flatMap((text) => [...text.matchAll(/\.(?:get|post|put|delete)\(\s*"(\/[^"]*)"/g)].map((match) => match[1] ?? ""));
}

test("no entity can have a name that stands in its place in a route", () => {
  const paths = routePaths();
  const prefixes = paths.filter((path) => path.includes("/:name")).map((path) => path.slice(0, path.indexOf(":name")));
  const words = paths.flatMap((path) =>
    prefixes
      .filter((prefix) => path.startsWith(prefix))
      .map((prefix) => path.slice(prefix.length).split("/", 1)[0] ?? "")
      .filter((word) => word !== "" && !word.startsWith(":")),
  );
  expect(new Set(words)).toEqual(new Set(["status", "stream", "batch", "refresh"]));
  for (const word of [...words, "Stream", "BATCH"]) expect(isReservedEntityName(word), word).toBe(true);
  expect(isReservedEntityName("streams")).toBe(false);
});
