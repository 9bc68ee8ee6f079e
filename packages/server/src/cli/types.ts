import { rowTypes } from "@emcache/client";
import { EmcacheError, type Entity } from "@emcache/protocol";
import { Command } from "commander";
import { writeFileSync } from "node:fs";
import type { CommandContext } from "./command-context.ts";
import { withHelp } from "./command-help.ts";
import { addServerFlags, type ServerFlags, serverPlace } from "./server-flags.ts";
import { serverJson } from "./server-request.ts";

interface TypesFlags extends ServerFlags {
  readonly entity?: readonly string[];
  readonly out?: string;
  readonly exactIntegers?: boolean;
}

/** `emcache types`: TypeScript types of rows, for the client's `openCache<Entities>`. */
export function typesCommand({ output }: CommandContext): Command {
  const command = new Command("types").description(
    "Write TypeScript types of the entities' rows, for @emcache/client.",
  );
  return withHelp(addServerFlags(command), { examples: ["emcache types --out src/emcache-rows.ts"] })
    .option("--entity <name...>", "only these entities")
    .option("--out <file>", "write to this file instead of printing")
    .option("--exact-integers", "type INTEGER columns as number | bigint, as values beyond 2^53 are")
    .action(async (flags: TypesFlags) => {
      const entities = (await serverJson<Entity[]>(serverPlace(flags), "GET", "/api/entities")).filter(
        ({ name }) => flags.entity?.includes(name) ?? true,
      );
      const missing = flags.entity?.filter((name) => !entities.some((entity) => entity.name === name)) ?? [];
      if (missing.length > 0) throw new EmcacheError("entity_not_found", `there is no entity ${missing.join(", ")}`);
      const text = rowTypes(entities, { exactIntegers: flags.exactIntegers === true });
      if (flags.out === undefined) output.print(text);
      else writeFileSync(flags.out, text);
    });
}
