import { readFileSync } from "node:fs";

const QUICK_START = new URL("../../docs/02-quick-start.md", import.meta.url);

/** Outputs that the quick start shows, by name: lines of the blocks that begin with "```text KIND: NAME". */
export function shownOutputs(kind: "doctor" | "shown"): Map<string, string[]> {
  const text = readFileSync(QUICK_START, "utf8");
  const blocks = text.matchAll(new RegExp(`^\`\`\`text ${kind}: (.+)\\n([\\s\\S]*?)^\`\`\``, "gm"));
  return new Map([...blocks].map(([, name = "", body = ""]) => [name, body.trimEnd().split("\n")]));
}
