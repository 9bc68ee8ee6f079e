import type { Command } from "commander";

interface CommandHelp {
  /** Command lines. */
  readonly examples: readonly string[];
  /** What each exit code of this command means; without it the general ones hold. */
  readonly exitCodes?: Readonly<Record<number, string>>;
}

/** Adds examples and exit codes to what `--help` shows, and with it to docs/08-command-line.md. */
export function withHelp(command: Command, { examples, exitCodes = {} }: CommandHelp): Command {
  const lines = ["", "Examples:", ...examples.map((example) => `  ${example}`)];
  const codes = Object.entries(exitCodes).map(([code, meaning]) => `  ${code}  ${meaning}`);
  return command.addHelpText(
    "after",
    [...lines, ...(codes.length === 0 ? [] : ["", "Exit codes:", ...codes])].join("\n"),
  );
}
