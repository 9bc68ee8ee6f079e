import { aggregateCommands } from "./aggregate.ts";
import { bulkWriteCommands } from "./bulk-write.ts";
import { collectionCommands } from "./collections.ts";
import type { CommandDefinition } from "./command.ts";
import { countCommands } from "./count-and-distinct.ts";
import { cursorCommands } from "./cursors.ts";
import { faultCommands } from "./faults.ts";
import { findAndModifyCommands } from "./find-and-modify.ts";
import { findCommands } from "./find.ts";
import { helloCommands } from "./hello.ts";
import { indexCommands } from "./indexes.ts";
import { sessionCommands } from "./sessions.ts";
import { writeCommands } from "./writes.ts";

const ALL_COMMANDS: ReadonlyMap<string, CommandDefinition> = new Map(
  [
    aggregateCommands,
    bulkWriteCommands,
    collectionCommands,
    countCommands,
    cursorCommands,
    faultCommands,
    findAndModifyCommands,
    findCommands,
    helloCommands,
    indexCommands,
    sessionCommands,
    writeCommands,
  ].flatMap((commands) => Object.entries(commands)),
);

/** The command of this name; null for one that is not served. */
export function commandNamed(name: string): CommandDefinition | null {
  return ALL_COMMANDS.get(name) ?? null;
}
