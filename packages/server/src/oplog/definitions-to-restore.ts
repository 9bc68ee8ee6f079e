import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EmcacheError, type EntityDefinition } from "@emcache/protocol";
import type pg from "pg";
import type { Logger } from "../runtime/logger.ts";
import { PostgresEntityStore } from "./postgres-entity-store.ts";

/** In the data directory; it outlives a process that dies between the two steps. */
const FILE_NAME = "entities-to-restore.json";

/** Writes down which entities an embedded database had, before it is set aside. */
export async function keepDefinitions(dataDir: string, definitions: readonly EntityDefinition[]): Promise<void> {
  const path = join(dataDir, FILE_NAME);
  await writeFile(`${path}.new`, JSON.stringify(definitions, null, 2));
  await rename(`${path}.new`, path);
}

/** Creates the entities that were written down, in a database that has a schema; nothing where none were. */
export async function restoreDefinitions(
  dataDir: string,
  { pool, logger, signal }: { readonly pool: pg.Pool; readonly logger: Logger; readonly signal: AbortSignal },
): Promise<void> {
  const path = join(dataDir, FILE_NAME);
  const text = await readFile(path, "utf8").catch(() => null);
  if (text === null) return;
  const definitions = JSON.parse(text) as EntityDefinition[];
  const store = new PostgresEntityStore({ pool, onChange: () => undefined });
  for (const definition of definitions) {
    await store.create(definition, signal).catch((error: unknown) => {
      if (!(error instanceof EmcacheError) || error.code !== "entity_exists") throw error;
    });
  }
  await rename(path, `${path}.done`);
  const names = definitions.map(({ name }) => name);
  logger.warn(
    { event: "entities_restored", names },
    "the entities of the database that was set aside were created anew",
  );
}
