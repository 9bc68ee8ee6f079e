import type { CommandOutput } from "./command-output.ts";

/** What each command is made with. */
export interface CommandContext {
  /** The whole command line: a source's flags (`--sources.NAME.uri`) are only known from it. */
  readonly args: readonly string[];
  readonly output: CommandOutput;
  /** Sets the exit code of a command that ended without throwing. */
  readonly exitWith: (code: number) => void;
}
