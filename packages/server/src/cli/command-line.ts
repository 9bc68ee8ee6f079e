import { EmcacheError } from "@emcache/protocol";
import { Command, CommanderError } from "commander";
import type { CommandOutput } from "./command-output.ts";
import { configCommand } from "./config.ts";
import { demoCommand } from "./demo.ts";
import { describeError } from "./describe-error.ts";
import { followCommand } from "./follow.ts";
import { packageVersion } from "./package-version.ts";
import { serveCommand } from "./serve.ts";
import { typesCommand } from "./types.ts";
import { verifyCommand } from "./verify.ts";
import { snapshotCommand } from "./snapshot.ts";

/** Exit codes: a clean end; a failure while running; something to be changed in the call or the configuration. */
const EXIT_OK = 0;
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

/** Runs `emcache` with these arguments (without Node and script) and resolves to the exit code. */
export async function runCommandLine(args: readonly string[], output: CommandOutput): Promise<number> {
  let exitCode: number = EXIT_OK;
  const context = { args, output, exitWith: (code: number) => void (exitCode = code) };
  const program = new Command("emcache")
    .description("Keeps MongoDB collections in local SQLite files, in real time.")
    .version(packageVersion())
    .showSuggestionAfterError()
    .addCommand(serveCommand(context))
    .addCommand(demoCommand(context))
    .addCommand(configCommand(context))
    .addCommand(followCommand(context))
    .addCommand(typesCommand(context))
    .addCommand(verifyCommand(context))
    .addCommand(snapshotCommand(context));
  for (const command of [program, ...program.commands, ...program.commands.flatMap((child) => child.commands)]) {
    command
      .exitOverride()
      .configureOutput({ writeOut: (text) => output.print(text), writeErr: (text) => output.printError(text) });
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has written its message; asking for the help or the version is no mistake.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    output.printError(`${describeError(error)}\n`);
    return error instanceof EmcacheError && error.code === "config_invalid" ? EXIT_USAGE : EXIT_FAILURE;
  }
}
