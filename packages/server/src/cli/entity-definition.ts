import {
  COLUMN_TYPES,
  type Column,
  type ColumnType,
  EmcacheError,
  type EntityDefinition,
  ID_COLUMN_TYPES,
  type Index,
  ON_DROP,
  ON_REJECT,
} from "@emcache/protocol";
import { type Command, InvalidArgumentError, Option } from "commander";
import { readFile } from "node:fs/promises";
import { text as textOf } from "node:stream/consumers";
import { messageOf } from "../runtime/error-message.ts";

/** A definition as it was written so far; the server says what is wrong with it, all at once. */
export type WrittenDefinition = Readonly<Record<string, unknown>>;

/** What flags say of a definition. */
export interface DefinitionFlags {
  readonly client?: string;
  readonly source?: string;
  readonly id?: EntityDefinition["shape"]["id_column"];
  readonly column?: readonly Column[];
  readonly dropColumn?: readonly string[];
  readonly index?: readonly Index[];
  readonly filter?: unknown;
  readonly onReject?: string;
  readonly onDrop?: string;
}

/** Gives a command the flags that write a definition. */
export function addDefinitionFlags(command: Command): Command {
  return command
    .option("--client <source>", "name of the configured source, [sources.NAME]")
    .option("--source <collection>", "collection in that source's database")
    .addOption(new Option("--id <type[:path]>", "the id column: string or number; path $._id").argParser(idOf))
    .addOption(
      new Option("--column <name:type[:path]>", "a column, once for each; path $.NAME").argParser(gather(columnOf)),
    )
    .addOption(new Option("--index <name:column,…>", "an index, once for each").argParser(gather(indexOf)))
    .addOption(new Option("--filter <json>", "a simple MongoDB query: only what matches has a row").argParser(jsonOf))
    .addOption(new Option("--on-reject <policy>", "what a value that can't be mapped does").choices(ON_REJECT))
    .addOption(new Option("--on-drop <policy>", "what a dropped collection does").choices(ON_DROP));
}

/** The definition with what the flags say; a column or index of a name that is there takes its place. */
export function withFlags(base: WrittenDefinition, flags: DefinitionFlags): WrittenDefinition {
  const { client, source, id, column = [], dropColumn = [], index = [], filter, onReject, onDrop } = flags;
  const shape = (base["shape"] ?? {}) as Partial<EntityDefinition["shape"]>;
  const dropped = new Set(dropColumn);
  const columns = merged(shape.columns ?? [], column).filter(({ name }) => !dropped.has(name));
  return {
    ...base,
    ...(client === undefined ? {} : { client }),
    ...(source === undefined ? {} : { source }),
    shape: {
      ...shape,
      id_column: id ?? shape.id_column ?? { path: "$._id", type: "string" },
      columns,
      indexes: merged(shape.indexes ?? [], index),
    },
    ...(filter === undefined ? {} : { filter }),
    ...(onReject === undefined ? {} : { on_reject: onReject }),
    ...(onDrop === undefined ? {} : { on_drop: onDrop }),
  };
}

function merged<T extends { readonly name: string }>(before: readonly T[], added: readonly T[]): T[] {
  const byName = new Map(before.map((item) => [item.name, item]));
  for (const item of added) byName.set(item.name, item);
  return [...byName.values()];
}

/** Reads a definition from a file, or from standard input for `-`. @throws EmcacheError `bad_request` */
export async function readDefinition(file: string): Promise<WrittenDefinition> {
  const place = file === "-" ? "standard input" : file;
  const fail = (words: string, hint: string): EmcacheError => new EmcacheError("bad_request", words, { hint });
  let text: string;
  try {
    text = file === "-" ? await textOf(process.stdin) : await readFile(file, "utf8");
  } catch (error) {
    throw fail(
      `${place} can't be read: ${messageOf(error)}`,
      "Name a file with the definition as JSON, or - for standard input.",
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fail(
      `${place} is not JSON: ${messageOf(error)}`,
      "`emcache entity infer COLLECTION` prints a definition to begin with.",
    );
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as WrittenDefinition;
  throw fail(`${place} holds no JSON object`, "`emcache entity infer COLLECTION` prints a definition to begin with.");
}

/** The type of an option that is given several times. */
function gather<T>(parse: (text: string) => T): (text: string, before: readonly T[] | undefined) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

function idOf(text: string): EntityDefinition["shape"]["id_column"] {
  const [type = "", path] = splitAt(text, 2);
  const known = ID_COLUMN_TYPES.find((candidate) => candidate === type);
  if (known === undefined)
    throw new InvalidArgumentError(`Write it as TYPE[:PATH], TYPE one of ${ID_COLUMN_TYPES.join(", ")}.`);
  return { path: path ?? "$._id", type: known };
}

function columnOf(text: string): Column {
  const [name = "", type = "", path] = splitAt(text, 3);
  const known: ColumnType | undefined = COLUMN_TYPES.find((candidate) => candidate === type);
  if (known === undefined)
    throw new InvalidArgumentError(`Write it as NAME:TYPE[:PATH], TYPE one of ${COLUMN_TYPES.join(", ")}.`);
  return { name, type: known, path: path ?? `$.${name}` };
}

function indexOf(text: string): Index {
  const [name = "", columns = ""] = splitAt(text, 2);
  if (columns === "") throw new InvalidArgumentError("Write it as NAME:COLUMN,COLUMN.");
  return { name, columns: columns.split(",") };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new InvalidArgumentError(`It is not JSON: ${messageOf(error)}.`);
  }
}

/** The parts between the first colons; the last part may hold more of them. */
function splitAt(text: string, parts: number): string[] {
  const pieces = text.split(":");
  return [...pieces.slice(0, parts - 1), ...(pieces.length >= parts ? [pieces.slice(parts - 1).join(":")] : [])];
}
