import { readFileSync } from "node:fs";

/** EMCache's version, from its package.json (two folders up in the sources as in the published package). */
export function packageVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
