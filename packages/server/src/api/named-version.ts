import { EmcacheError } from "@emcache/protocol";
import type { EntityRegistryPort, EntityVersions, RegisteredEntity } from "./api-dependencies.ts";

/**
 * The version that a name stands for: the live one. While an entity has none yet, the first one, which is being
 * copied: a client that begins then reads the copy as it grows, and its `sync_end`. A changed version that is copied
 * beside a live one is not to be seen by name before it is live.
 */
export function namedVersion(versions: EntityVersions): RegisteredEntity | null {
  return versions.live ?? versions.pending;
}

/** @throws EmcacheError `entity_not_found` */
export function requireNamedVersion(registry: EntityRegistryPort, name: string): RegisteredEntity {
  const versions = registry.get(name);
  const version = versions === null ? null : namedVersion(versions);
  if (version === null) throw entityNotFound(name);
  return version;
}

/** The error for a name that no entity has. */
export function entityNotFound(name: string): EmcacheError {
  return new EmcacheError("entity_not_found", `There is no entity ${JSON.stringify(name)}`);
}
