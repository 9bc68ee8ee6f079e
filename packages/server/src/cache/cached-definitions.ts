import { readCacheEntity } from "@emcache/cache-file";
import type { EntityDefinition } from "@emcache/protocol";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { CacheDirectory } from "./cache-directory.ts";

/**
 * The definitions of the entities that have a cache file: for whoever has lost the database that held them. Of several
 * versions the newest. A file that can't be read is named in the log.
 */
export function cachedDefinitions(baseDir: string, logger: Logger): EntityDefinition[] {
  const directory = new CacheDirectory(baseDir);
  directory.create();
  const newest = new Map<string, { readonly version: number; readonly definition: EntityDefinition }>();
  for (const { name, version, path } of directory.list()) {
    if ((newest.get(name)?.version ?? 0) >= version) continue;
    try {
      const { id: _id, created_at: _createdAt, ...definition } = readCacheEntity(path);
      newest.set(name, { version, definition });
    } catch (error) {
      logger.error({ event: "definition_lost", path, reason: messageOf(error) }, "an entity is not known any more");
    }
  }
  return [...newest.values()].map(({ definition }) => definition);
}
