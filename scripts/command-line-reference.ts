import { commandTree } from "../packages/server/src/cli/command-tree.ts";

const INTRODUCTION = `# Command line

Generated from the commands themselves (\`npm run generate\`); \`emcache COMMAND --help\` shows the same.

- **Configuration.** Commands that read it take every option of [the configuration](configuration.md) as a flag: \`--server.port 9090\`, \`--sources.main.uri …\`. File < environment < flag.
- **Servers.** Commands that talk to a running server find it by \`--url\` or \`EMCACHE_URL\`, else where the configuration says. \`--token\` or \`EMCACHE_TOKEN\` is sent as bearer token.
- **\`--json\`** makes the output JSON, for programs: one document, or one a line where it goes on. What a person should read besides goes to standard error.
- **Exit codes** are as \`diff\` and \`grep\` have them: \`0\` done; \`1\` a negative answer: a check found something, the server turned the request down, or what ran has failed; \`2\` nothing was done: the call or the configuration is wrong, or there is no server. Where a command means something more by them, it says so.
- **Errors** are one line with the code of [the catalogue](errors.md), each mistake below it, and a hint. A stack trace is a bug; please report it.
- **Completion**: \`source <(emcache completion bash)\`, or \`emcache completion zsh > "\${fpath[1]}/_emcache"\`.
`;

type Command = ReturnType<typeof commandTree>;

/** Options of the configuration, which have a reference of their own. */
const CONFIGURATION_GROUP = "Configuration:";

/** docs/08-command-line.md, from the tree of commands. */
export function renderCommandLineReference(): string {
  const nobody = {
    args: [],
    output: { print: () => undefined, printError: () => undefined },
    exitWith: () => undefined,
  };
  const root = commandTree(nobody);
  const commands = leavesOf(root);
  const overview = commands.map(
    ({ path, command }) => `| [\`${path}\`](#${anchorOf(path)}) | ${command.description()} |`,
  );
  const table = ["| command | what it does |", "| --- | --- |", ...overview].join("\n");
  return `${INTRODUCTION}\n${table}\n\n${commands.map(sectionOf).join("\n")}`;
}

interface Leaf {
  /** Such as `emcache entity create`. */
  readonly path: string;
  readonly command: Command;
}

/** Commands that do something; one that only holds others is told by them. */
function leavesOf(command: Command, path = command.name()): Leaf[] {
  if (command.commands.length === 0) return [{ path, command }];
  return command.commands.flatMap((child) => leavesOf(child, `${path} ${child.name()}`));
}

function sectionOf({ path, command }: Leaf): string {
  const help = command.createHelp();
  const argumentRows = command.registeredArguments.map((argument) => [
    `\`${help.argumentTerm(argument)}\``,
    help.argumentDescription(argument),
  ]);
  const options = help.visibleOptions(command).filter(({ long }) => long !== "--help");
  const own = options.filter(({ helpGroupHeading }) => helpGroupHeading !== CONFIGURATION_GROUP);
  const optionRows = own.map((option) => [`\`${option.flags}\``, help.optionDescription(option)]);
  const configuration =
    own.length === options.length ? "" : "\nAnd every option of [the configuration](configuration.md) as a flag.\n";
  const rows = [...argumentRows, ...optionRows].map((cells) =>
    cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | "),
  );
  const table = rows.length === 0 ? "" : `\n| | |\n| --- | --- |\n${rows.map((row) => `| ${row} |`).join("\n")}\n`;
  const usage = `${path} ${command.usage()}`;
  return `## ${path}\n\n${command.description()}\n\n\`\`\`text\n${usage}${afterHelp(command)}\n\`\`\`\n${table}${configuration}`;
}

/** Examples and exit codes, as they stand behind the options. */
function afterHelp(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
  const start = text.search(/^(?:Examples|Exit codes):$/m);
  return start < 0 ? "" : `\n\n${text.slice(start).trimEnd()}`;
}

function anchorOf(path: string): string {
  return path.replaceAll(" ", "-");
}
