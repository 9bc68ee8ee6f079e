import { EmcacheError } from "@emcache/protocol";
import { Command, InvalidArgumentError, Option } from "commander";
import { entityOnly, type EntityStatus } from "../api/entity-status.ts";
import { sleep } from "../runtime/sleep.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import type { CommandOutput } from "./command-output.ts";
import {
  addDefinitionFlags,
  type DefinitionFlags,
  readDefinition,
  withFlags,
  type WrittenDefinition,
} from "./entity-definition.ts";
import { inferCommand } from "./entity-infer.ts";
import { entityLines, entityTable } from "./entity-text.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { type ServerPlace, serverJson } from "./server-request.ts";
import { stopSignal } from "./stop-signal.ts";

/** How often an entity that is waited for is looked at. */
const WAIT_INTERVAL_MS = 200;

interface JsonFlags extends ServerFlags {
  readonly json?: boolean;
}

interface WriteFlags extends JsonFlags, DefinitionFlags {
  readonly name?: string;
  readonly wait?: true | number;
}

/** `emcache entity`: what is cached. */
export function entityCommand(context: CommandContext): Command {
  const command = withHelp(new Command("entity"), {
    examples: [
      "emcache entity infer users | emcache entity create -",
      "emcache entity create --name users --client main --source users --column email:string --column age:integer",
      "emcache entity list",
    ],
  }).description("Create, look at, change and delete entities of a running server, or infer one from a collection.");
  const { output } = context;
  for (const child of [
    createCommand(output),
    listCommand(output),
    showCommand(output),
    updateCommand(output),
    deleteCommand(output),
    refreshCommand(output),
    inferCommand(context),
  ]) {
    command.addCommand(child);
  }
  return command;
}

function onServer(name: string, description: string): Command {
  return addServerFlags(new Command(name).description(description)).option("--json", "the server's answer, as JSON");
}

function addWait(command: Command): Command {
  const wait = new Option("--wait [seconds]", "wait until its copy is served; without a number as long as it takes");
  return command.addOption(wait.argParser(secondsOf));
}

function createCommand(output: CommandOutput): Command {
  const command = onServer("create", "Create an entity; its copy begins at once.")
    .argument("[file]", "definition as JSON; - for standard input")
    .option("--name <name>", "name of the entity");
  return withHelp(addWait(addDefinitionFlags(command)), {
    examples: [
      "emcache entity create users.json --wait",
      "emcache entity infer users | emcache entity create -",
      "emcache entity create --name users --client main --source users --column email:string --column city:string:$.address.city --index by_email:email",
    ],
  }).action(async (file: string | undefined, flags: WriteFlags, self: Command) => {
    if (file === undefined && flags.name === undefined) self.error("error: name a FILE, or give --name and --column");
    const written = file === undefined ? {} : await readDefinition(file);
    const { name = written["name"] } = flags;
    const definition = withFlags({ ...written, name }, flags);
    const place = serverPlace(flags);
    const created = await serverJson<EntityStatus>(place, "POST", "/api/entities", { body: definition });
    await tellWritten("created", created, { flags, place, output });
  });
}

function updateCommand(output: CommandOutput): Command {
  const command = onServer("update", "Change an entity: a new version is copied beside the served one.")
    .argument("<name>")
    .argument(
      "[file]",
      "the whole new definition as JSON; - for standard input; without it flags change the present one",
    )
    .option("--drop-column <name...>", "a column to leave out");
  return withHelp(addWait(addDefinitionFlags(command)), {
    examples: ["emcache entity update users --column age:integer --wait", "emcache entity update users users.json"],
  }).action(async (name: string, file: string | undefined, flags: WriteFlags) => {
    const place = serverPlace(flags);
    const base: WrittenDefinition =
      file === undefined ? definitionOf(await entityNamed(place, name)) : await readDefinition(file);
    const body = withFlags(base, flags);
    const changed = await serverJson<EntityStatus>(place, "PUT", pathOf(name), { body });
    await tellWritten(changed.pending === null ? "left as it is:" : "changes", changed, { flags, place, output });
  });
}

interface Written {
  readonly flags: WriteFlags;
  readonly place: ServerPlace;
  readonly output: CommandOutput;
}

async function tellWritten(word: string, entity: EntityStatus, { flags, place, output }: Written): Promise<void> {
  const isJson = flags.json === true;
  const version = entity.pending?.id ?? entity.id;
  if (!isJson) output.print(`${word} ${entity.name} (version ${version})\n`);
  const last = flags.wait === undefined ? entity : await waitUntilLive(place, entity.name, flags.wait);
  if (isJson) output.print(`${JSON.stringify(last, null, 2)}\n`);
  else if (flags.wait !== undefined) output.print(`${last.name} is live: ${last.rows ?? 0} rows\n`);
}

/** Waits until an entity is served and no changed version of it is under way. @throws EmcacheError where it can't be. */
async function waitUntilLive(place: ServerPlace, name: string, wait: true | number): Promise<EntityStatus> {
  const end = stopSignal();
  const deadline = wait === true ? Infinity : performance.now() + wait * 1000;
  try {
    for (;;) {
      const entity = await entityNamed(place, name, end.signal);
      const { state, reason, last_error: error } = entity;
      if (state === "live" && entity.pending === null) return entity;
      if (state === "failed" || state === "stopped" || state === "stale") {
        const hint = error === null ? {} : { hint: error.hint };
        throw new EmcacheError("entity_stopped", `${name} is ${state}: ${reason ?? "no reason is known"}`, hint);
      }
      if (performance.now() > deadline) {
        throw new EmcacheError("wait_timed_out", `${name} is ${state} after ${String(wait)} s`, {
          hint: "`emcache status` shows how far its copy is; it goes on.",
        });
      }
      await sleep(WAIT_INTERVAL_MS, end.signal);
    }
  } finally {
    end.release();
  }
}

function listCommand(output: CommandOutput): Command {
  return onServer("list", "List all entities.").action(async (flags: JsonFlags) => {
    const entities = await serverJson<EntityStatus[]>(serverPlace(flags), "GET", "/api/entities");
    output.print(
      flags.json === true ? `${JSON.stringify(entities, null, 2)}\n` : `${entityTable(entities).join("\n")}\n`,
    );
  });
}

function showCommand(output: CommandOutput): Command {
  const command = onServer("show", "Show an entity: its state and its columns.")
    .argument("<name>")
    .option("--definition", "only its definition, as JSON that create and update take");
  return withHelp(command, {
    examples: ["emcache entity show users", "emcache entity show users --definition > users.json"],
  }).action(async (name: string, flags: JsonFlags & { readonly definition?: boolean }) => {
    const entity = await entityNamed(serverPlace(flags), name);
    if (flags.definition === true) output.print(`${JSON.stringify(definitionOf(entity), null, 2)}\n`);
    else if (flags.json === true) output.print(`${JSON.stringify(entity, null, 2)}\n`);
    else output.print(`${entityLines(entity).join("\n")}\n`);
  });
}

function deleteCommand(output: CommandOutput): Command {
  return onServer("delete", "Delete an entity with its caches and snapshots; the source keeps its documents.")
    .argument("<name>")
    .action(async (name: string, flags: JsonFlags) => {
      const answer = await serverJson<unknown>(serverPlace(flags), "DELETE", pathOf(name));
      output.print(flags.json === true ? `${JSON.stringify(answer)}\n` : `deleted ${name}\n`);
    });
}

function refreshCommand(output: CommandOutput): Command {
  const command = onServer("refresh", "Copy an entity's collection anew; the present rows are served meanwhile.");
  return withHelp(command.argument("<name>"), { examples: ["emcache entity refresh users"] }).action(
    async (name: string, flags: JsonFlags) => {
      const answer = await serverJson<unknown>(serverPlace(flags), "POST", `${pathOf(name)}/copy`);
      output.print(flags.json === true ? `${JSON.stringify(answer)}\n` : `a new copy of ${name} begins\n`);
    },
  );
}

function entityNamed(place: ServerPlace, name: string, signal?: AbortSignal): Promise<EntityStatus> {
  return serverJson<EntityStatus>(place, "GET", pathOf(name), signal === undefined ? {} : { signal });
}

/** What an operator wrote of an entity, without what the server added; of a change under way the changed one. */
function definitionOf(entity: EntityStatus): WrittenDefinition {
  const { id: _id, created_at: _createdAt, ...definition } = entityOnly(entity.pending ?? entity);
  return definition;
}

function pathOf(name: string): string {
  return `/api/entities/${encodeURIComponent(name)}`;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds < 10_000_000)) throw new InvalidArgumentError("Give a number of seconds above 0.");
  return seconds;
}
