import { EmcacheError } from "@emcache/protocol";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Config, SourceConfig } from "../config/config.ts";
import { loadConfig } from "../config/load-config.ts";
import { EMBEDDED } from "../config/option-table.ts";
import { validateEntity } from "../entity/validate-entity.ts";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addConfigFlags } from "./config-flags.ts";
import { inferShape, type InferredColumn } from "./infer-shape.ts";
import { sampleCollection } from "./sample-collection.ts";
import { tableLines } from "./text-table.ts";

/** Enough for types that one document in some hundred has. */
const SAMPLE_DEFAULT = 1_000;
const SAMPLE_MAX = 100_000;

interface InferFlags {
  readonly client?: string;
  readonly name?: string;
  readonly sample: number;
  readonly json?: boolean;
}

/** `emcache entity infer COLLECTION`: a definition to begin with, from documents of the source. */
export function inferCommand({ args, output }: CommandContext): Command {
  const command = new Command("infer")
    .description(
      "Propose an entity from documents of a collection, read from the source itself: columns whose type fits every document looked at. Prints JSON that `emcache entity create -` takes, and on standard error what it found.",
    )
    .argument("<collection>")
    .option("--client <source>", "name of the configured source; default: the only one")
    .option("--name <name>", "name of the entity; default: made from the collection's")
    .addOption(new Option("--sample <documents>", "how many are looked at").default(SAMPLE_DEFAULT).argParser(sampleOf))
    .option("--json", "print only the JSON");
  withHelp(command, {
    examples: ["emcache entity infer users", "emcache entity infer users | emcache entity create - --wait"],
  });
  const configInput = addConfigFlags(command, args);
  return command.action(async (collection: string, flags: InferFlags) => {
    const { sources } = loadConfig(configInput());
    const [client, source] = sourceFor(sources, flags.client);
    const { documents, indexes } = await sampleCollection(client, source, collection, flags.sample);
    if (documents.length === 0) {
      throw new EmcacheError("bad_request", `The collection ${source.database}.${collection} has no document`, {
        hint: "Names differ by case; db.getCollectionNames() in mongosh lists them.",
      });
    }
    const name = flags.name ?? entityNameOf(collection);
    const inferred = inferShape({ name, client, source: collection }, documents, indexes);
    const definition = validateEntity(inferred.definition, { sourceNames: [client] });
    if (flags.json !== true) {
      output.printError(`${reportLines(inferred.columns, documents.length).join("\n")}\n`);
    }
    output.print(`${JSON.stringify(definition, null, 2)}\n`);
  });
}

function sourceFor(sources: Config["sources"], name: string | undefined): [string, SourceConfig] {
  const names = Object.keys(sources);
  const chosen = name ?? (names.length === 1 ? names[0] : undefined);
  const source = chosen === undefined ? undefined : sources[chosen];
  if (chosen === undefined || source === undefined) {
    const known = names.length === 0 ? "none is configured" : `there are ${names.join(", ")}`;
    const words = name === undefined ? `Which source? ${known}` : `There is no source ${name}: ${known}`;
    const hint = names.length === 0 ? "Add [sources.main] with a uri to config.toml." : "Name one by --client.";
    throw new EmcacheError("bad_request", words, { hint });
  }
  if (source.uri !== EMBEDDED) return [chosen, source];
  throw new EmcacheError("bad_request", `Source ${chosen} lives in the memory of emcache serve`, {
    hint: `Its log names its address (event embedded_source_started): --sources.${chosen}.uri mongodb://127.0.0.1:27117/`,
  });
}

/** Letters, digits and `_` of the collection's name. */
function entityNameOf(collection: string): string {
  return collection.replaceAll(/[^A-Za-z0-9_]+/g, "_").slice(0, 63);
}

function reportLines(columns: readonly InferredColumn[], documents: number): string[] {
  const table = tableLines(
    [
      { heading: "COLUMN", align: "left" },
      { heading: "TYPE", align: "left" },
      { heading: "NULLABLE", align: "left" },
      { heading: "FOUND IN", align: "right" },
      { heading: "PATH", align: "left" },
      { heading: "BSON TYPES", align: "left" },
    ],
    columns.map(({ name, type, path, found, kinds }) => [
      name,
      type,
      found < documents ? "yes" : "no",
      `${((found / documents) * 100).toFixed(found === documents ? 0 : 1)} %`,
      path,
      kinds.join(", "),
    ]),
  );
  return [`${documents} documents were looked at.`, ...table];
}

function sampleOf(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= SAMPLE_MAX) return count;
  throw new InvalidArgumentError(`Give a whole number from 1 to ${SAMPLE_MAX}.`);
}
