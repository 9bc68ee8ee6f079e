import { type Command, Option } from "commander";
import type { ConfigInput } from "../config/load-config.ts";
import type { Option as ConfigOption } from "../config/option.ts";
import { OPTIONS, SOURCE_OPTIONS } from "../config/option-table.ts";

/**
 * Gives a command `--config` and a flag for every option of the configuration; the function that it returns tells
 * what was given, once the command line has been parsed.
 */
export function addConfigFlags(command: Command, args: readonly string[]): () => ConfigInput {
  const flags: Record<string, string> = {};
  let file: string | undefined;
  command.addOption(
    new Option("--config <file>", "TOML file; default: EMCACHE_CONFIG, else config.toml if there is one").argParser(
      (value: string) => (file = value),
    ),
  );
  const add = (key: string, option: ConfigOption<unknown>): void => {
    const names = option.shortFlag === undefined ? `--${key}` : `--${option.shortFlag}, --${key}`;
    const defaultText = option.default === null ? "" : ` Default: ${JSON.stringify(option.default)}`;
    const flag = new Option(`${names} <value>`, `${option.description} (${option.type})${defaultText}`);
    command.addOption(flag.helpGroup("Configuration:").argParser((value: string) => (flags[key] = value)));
  };
  for (const [key, option] of Object.entries(OPTIONS)) add(key, option);
  for (const name of new Set(["NAME", ...sourceNamesIn(args)])) {
    for (const [key, option] of Object.entries(SOURCE_OPTIONS)) add(`sources.${name}.${key}`, option);
  }
  return () => ({ ...(file === undefined ? {} : { file }), env: process.env, flags, cwd: process.cwd() });
}

/** Names of sources that flags like `--sources.main.uri` or `--sources.main.uri=…` speak of. */
function sourceNamesIn(args: readonly string[]): string[] {
  return args.flatMap((argument) => /^--sources\.([^=]+)\.\w+(?:=|$)/.exec(argument)?.[1] ?? []);
}
