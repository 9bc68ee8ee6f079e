import { rowTypes } from "@emcache/client";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { Command } from "commander";
import { writeFileSync } from "node:fs";
import type { CommandContext } from "./command-context.ts";

interface TypesFlags {
  readonly url: string;
  readonly token?: string;
  readonly entity?: readonly string[];
  readonly out?: string;
  readonly exactIntegers?: boolean;
}

/** A list of entities is small; a server that doesn't answer it is not there. */
const TIMEOUT_MS = 30_000;

/** `emcache types`: TypeScript types of rows, for the client's `openCache<Entities>`. */
export function typesCommand({ output }: CommandContext): Command {
  return new Command("types")
    .description("Write TypeScript types of the entities' rows, for @emcache/client.")
    .requiredOption("--url <url>", "the EMCache server")
    .option("--token <token>", "its token; default: the environment's EMCACHE_TOKEN")
    .option("--entity <name...>", "only these entities")
    .option("--out <file>", "write to this file instead of printing")
    .option("--exact-integers", "type INTEGER columns as number | bigint, as values beyond 2^53 are")
    .action(async (flags: TypesFlags) => {
      const entities = (await listEntities(flags)).filter(({ name }) => flags.entity?.includes(name) ?? true);
      const missing = flags.entity?.filter((name) => !entities.some((entity) => entity.name === name)) ?? [];
      if (missing.length > 0) throw new EmcacheError("entity_not_found", `there is no entity ${missing.join(", ")}`);
      const text = rowTypes(entities, { exactIntegers: flags.exactIntegers === true });
      if (flags.out === undefined) output.print(text);
      else writeFileSync(flags.out, text);
    });
}

async function listEntities({ url, token = process.env["EMCACHE_TOKEN"] }: TypesFlags): Promise<Entity[]> {
  const target = new URL("api/entities", url.endsWith("/") ? url : `${url}/`);
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let response: Response;
  try {
    response = await fetch(target, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new EmcacheError("server_unreachable", `${target.origin} can't be reached`, { cause: error });
  }
  if (response.status === 401 || response.status === 403) {
    throw new EmcacheError("server_refused", `${target.origin} answered ${response.status}`);
  }
  if (!response.ok) throw new EmcacheError("answer_invalid", `${target.origin} answered ${response.status}`);
  return (await response.json()) as Entity[];
}
