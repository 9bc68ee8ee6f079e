import { Command } from "commander";
import type { CommandContext } from "./command-context.ts";
import { completionCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { demoCommand } from "./demo.ts";
import { doctorCommand } from "./doctor.ts";
import { entityCommand } from "./entity.ts";
import { followCommand } from "./follow.ts";
import { migrateCommand } from "./migrate.ts";
import { packageVersion } from "./package-version.ts";
import { serveCommand } from "./serve.ts";
import { snapshotCommand } from "./snapshot.ts";
import { sqlCommand } from "./sql.ts";
import { statusCommand } from "./status.ts";
import { tailCommand } from "./tail.ts";
import { tokenCommand } from "./token.ts";
import { typesCommand } from "./types.ts";
import { verifyCommand } from "./verify.ts";

/** All commands of `emcache`. Help, completion and docs/08-command-line.md are made from it. */
export function commandTree(context: CommandContext): Command {
  const program = new Command("emcache")
    .description("Keeps MongoDB collections in local SQLite files, in real time.")
    .version(packageVersion())
    .showSuggestionAfterError();
  program.commandsGroup("Run:").addCommand(serveCommand(context)).addCommand(demoCommand(context));
  program
    .commandsGroup("Set up:")
    .addCommand(doctorCommand(context))
    .addCommand(configCommand(context))
    .addCommand(entityCommand(context))
    .addCommand(tokenCommand(context))
    .addCommand(migrateCommand(context))
    .addCommand(completionCommand(context));
  program
    .commandsGroup("Look:")
    .addCommand(statusCommand(context))
    .addCommand(tailCommand(context))
    .addCommand(sqlCommand(context))
    .addCommand(verifyCommand(context));
  program
    .commandsGroup("Data elsewhere:")
    .addCommand(snapshotCommand(context))
    .addCommand(followCommand(context))
    .addCommand(typesCommand(context));
  return program;
}

/** A command and all below it. */
export function withDescendants(command: Command): Command[] {
  return [command, ...command.commands.flatMap((child) => withDescendants(child))];
}
