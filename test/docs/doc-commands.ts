import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** One shell command of a document. */
export interface DocCommand {
  /** Where it stands: `docs/05-operations.md:57`. */
  readonly place: string;
  readonly text: string;
  /** Why it is not run; null: it is. */
  readonly reason: string | null;
}

/** First words of fenced blocks that hold shell commands. */
const SHELL_LANGUAGES = new Set(["bash", "sh", "shell", "console"]);

/** What stands behind the language where a block is not to be run; the reason follows it. */
const NOTEST = /^notest\b\s*(?<reason>.*)$/;

const FENCE = /^(?<indent> *)```(?<language>\w+) *(?<info>[^\n]*)\n(?<body>.*?)^ *```/gms;

/**
 * All shell commands of README.md and docs/*.md, in the order in which a reader meets them. A fenced block that begins
 * with "```bash notest REASON" is not to be run.
 *
 * @throws where a block is not to be run and no reason is given, or holds what the shell can't read.
 */
export function docCommands(root: string): DocCommand[] {
  const docs = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", ...docs.sort().map((name) => join("docs", name))].flatMap((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return [...text.matchAll(FENCE)].flatMap(({ index, groups }) => {
      const { indent = "", language = "", info = "", body = "" } = groups ?? {};
      if (!SHELL_LANGUAGES.has(language)) return [];
      const line = text.slice(0, index).split("\n").length + 1;
      const reason = NOTEST.exec(info)?.groups?.["reason"] ?? null;
      if (reason === "") throw new Error(`${file}:${line}: notest without a reason`);
      return commandsOf(body.replaceAll(new RegExp(`^${indent}`, "gm"), ""), { file, line, reason });
    });
  });
}

/** Takes a block apart: a command ends at the first line at which the shell finds it complete. */
function commandsOf(
  body: string,
  { file, line, reason }: { readonly file: string; readonly line: number; readonly reason: string | null },
): DocCommand[] {
  const commands: DocCommand[] = [];
  let open = "";
  for (const [offset, text] of body.split("\n").entries()) {
    if (open === "" && /^\s*(?:#.*)?$/.test(text)) continue;
    open += `${text}\n`;
    if (!isComplete(open)) continue;
    const first = line + offset - (open.split("\n").length - 2);
    commands.push({ place: `${file}:${first}`, text: open.trimEnd(), reason });
    open = "";
  }
  if (open.trim() !== "") throw new Error(`${file}:${line}: the shell finds no end of: ${open}`);
  return commands;
}

function isComplete(text: string): boolean {
  if (text.endsWith("\\\n")) return false;
  const { status, stderr } = spawnSync("bash", ["-n"], { input: text, encoding: "utf8" });
  // Of a here-document without its end bash only warns.
  return status === 0 && !stderr.includes("here-document");
}
