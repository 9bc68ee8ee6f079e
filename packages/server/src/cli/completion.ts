import { Argument, Command, type Option } from "commander";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";

const SHELLS = ["bash", "zsh"] as const;

/** `emcache completion`: what a shell reads to complete our command lines. */
export function completionCommand({ output }: CommandContext): Command {
  return withHelp(new Command("completion"), {
    examples: [
      "source <(emcache completion bash)",
      "emcache completion bash > /etc/bash_completion.d/emcache",
      'emcache completion zsh > "${fpath[1]}/_emcache"',
    ],
  })
    .description("Print what a shell needs to complete commands and flags of emcache.")
    .addArgument(new Argument("<shell>").choices(SHELLS))
    .action((shell: (typeof SHELLS)[number], _flags: unknown, self: Command) => {
      let root = self;
      while (root.parent !== null) root = root.parent;
      output.print(shell === "bash" ? bashCompletion(root) : zshCompletion(root));
    });
}

/** What can follow a command's words. */
interface Node {
  /** Such as `emcache entity create`. */
  readonly path: string;
  readonly commands: readonly { readonly word: string; readonly description: string }[];
  readonly flags: readonly CompletedFlag[];
  /** Words that its arguments are chosen from. */
  readonly choices: readonly string[];
}

interface CompletedFlag {
  readonly word: string;
  readonly description: string;
  /** Null: it takes no value; empty: any value, files are proposed. */
  readonly values: readonly string[] | null;
}

function nodesOf(command: Command, path = command.name()): Node[] {
  const commands = command.commands.map((child) => ({
    word: child.name(),
    description: firstSentence(child.description()),
  }));
  const flags = command.options.flatMap(flagsOf);
  const help = { word: "--help", description: "display help for command", values: null };
  const choices = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
  const node = { path, commands, flags: [...flags, help], choices };
  return [node, ...command.commands.flatMap((child) => nodesOf(child, `${path} ${child.name()}`))];
}

/** Placeholders such as `--sources.NAME.uri` are no flags. */
function flagsOf({ long, short, required, optional, argChoices, description }: Option): CompletedFlag[] {
  const words = [long, short].filter((word) => word !== undefined && word !== null && !word.includes("NAME"));
  const values = required || optional ? (argChoices ?? []) : null;
  return words.map((word) => ({ word: word ?? "", description: firstSentence(description), values }));
}

function firstSentence(text: string): string {
  return text.replaceAll(/\s+/g, " ").split(/(?<=\.) |; /)[0] ?? "";
}

/** For bash 3.2 and newer: no associative arrays, which macOS's bash lacks. */
function bashCompletion(root: Command): string {
  const nodes = nodesOf(root);
  const words = nodes.map(({ path, commands, flags, choices }) => {
    const all = [...commands.map(({ word }) => word), ...choices, ...flags.map(({ word }) => word)];
    return `    ${quote(path)}) words=${quote(all.join(" "))} ;;`;
  });
  const values = nodes.flatMap(({ path, flags }) =>
    flags.flatMap(({ word, values: of }) => {
      if (of === null) return [];
      return [`    ${quote(`${path} ${word}`)}) words=${quote(of.join(" "))}; takes_value=1 ;;`];
    }),
  );
  const commands = nodes.slice(1).map(({ path }) => quote(path));
  return `# bash completion for emcache; made by: emcache completion bash
_emcache() {
  local word words="" takes_value="" path="emcache" index
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}"
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "$path $word" in
    ${commands.join(" | \\\n    ")}) path="$path $word" ;;
    esac
  done
  case "$path $previous" in
${values.join("\n")}
  esac
  if [ -z "$takes_value" ]; then
    case "$path" in
${words.join("\n")}
    esac
    # Flags are many: they are shown to whoever begins one.
    if [[ "$current" != -* ]]; then
      local kept=""
      for word in $words; do [[ "$word" == -* ]] || kept="$kept $word"; done
      words="$kept"
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _emcache emcache
`;
}

function zshCompletion(root: Command): string {
  const cases = nodesOf(root).map(({ path, commands, flags, choices }) => {
    const described = [
      ...commands.map(({ word, description }) => describedWord(word, description)),
      ...choices.map((word) => quote(word)),
    ];
    const options = flags.map(({ word, description }) => describedWord(word, description));
    const values = flags.flatMap(({ word, values: of }) => {
      if (of === null) return [];
      return [
        `      ${quote(word)}) ${of.length === 0 ? "_files" : `compadd -- ${of.map(quote).join(" ")}`}; return ;;`,
      ];
    });
    return `  ${quote(path)})
    case "$previous" in
${values.join("\n")}
    esac
    commands=(${described.join(" ")})
    options=(${options.join(" ")})
    ;;`;
  });
  const paths = nodesOf(root)
    .slice(1)
    .map(({ path }) => quote(path));
  return `#compdef emcache
# zsh completion for emcache; made by: emcache completion zsh
_emcache() {
  local route="emcache" previous="\${words[CURRENT-1]}" word
  local -a commands options
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$route $word" in
    ${paths.join(" | ")}) route="$route $word" ;;
    esac
  done
  case "$route" in
${cases.join("\n")}
  esac
  if [[ "\${words[CURRENT]}" == -* ]]; then
    _describe -o flag options
  elif (( \${#commands} )); then
    _describe command commands
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_emcache" ]; then _emcache "$@"; else compdef _emcache emcache; fi
`;
}

/** A word with its description, as `_describe` takes it: a colon between them. */
function describedWord(word: string, description: string): string {
  return quote(`${word.replaceAll(":", "\\:")}:${description}`);
}

/** For both shells: nothing inside single quotes means anything. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
