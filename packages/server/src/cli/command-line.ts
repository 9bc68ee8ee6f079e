import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";
import { CommanderError } from "commander";
import type { CommandOutput } from "./command-output.ts";
import { commandTree, withDescendants } from "./command-tree.ts";
import { describeError } from "./describe-error.ts";

/**
 * Exit codes: done; a negative answer (a check that found something, a request that the server turned down, a failure
 * while running); nothing was done, because the call or the configuration is wrong or there is no server.
 */
const EXIT_OK = 0;
const EXIT_NEGATIVE = 1;
const EXIT_COULD_NOT = 2;

const COULD_NOT: ReadonlySet<ErrorCode> = new Set(["config_invalid", "bad_request", "server_unreachable"]);

/** Runs `emcache` with these arguments (without Node and script) and resolves to the exit code. */
export async function runCommandLine(args: readonly string[], output: CommandOutput): Promise<number> {
  let exitCode: number = EXIT_OK;
  const program = commandTree({ args, output, exitWith: (code: number) => void (exitCode = code) });
  for (const command of withDescendants(program)) {
    command
      .exitOverride()
      .configureOutput({ writeOut: (text) => output.print(text), writeErr: (text) => output.printError(text) });
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has written its message; asking for the help or the version is no mistake.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_COULD_NOT;
    output.printError(`${describeError(error)}\n`);
    return exitCodeOf(error);
  }
}

function exitCodeOf(error: unknown): number {
  if (!(error instanceof EmcacheError)) return EXIT_NEGATIVE;
  const { status } = ERROR_CATALOGUE[error.code];
  const isRefused = status === 401 || status === 403;
  return isRefused || COULD_NOT.has(error.code) ? EXIT_COULD_NOT : EXIT_NEGATIVE;
}
