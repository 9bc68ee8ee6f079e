import { EmcacheError } from "@emcache/protocol";
import type { EntityRegistryPort } from "./api-dependencies.ts";

/** An entity version that a follower asked for, as it is now. */
export interface FollowedVersion {
  readonly id: number;
  readonly name: string;
  readonly state: "pending" | "live" | "retired";
}

/** @throws EmcacheError `entity_not_found` naming every version that there is not */
export function followedVersions(
  asked: string | readonly string[],
  registry: Pick<EntityRegistryPort, "find">,
): FollowedVersion[] {
  const ids = [...new Set((typeof asked === "string" ? [asked] : asked).map(Number))];
  const found = ids.map((id) => registry.find(id));
  const missing = ids.filter((_, index) => found[index] === null);
  if (missing.length > 0) {
    const errors = missing.map((id) => `versions: there is no entity version ${id}`);
    throw new EmcacheError("entity_not_found", errors.join("\n"), { errors });
  }
  return found.flatMap((record) =>
    record === null ? [] : [{ id: record.entity.id, name: record.entity.name, state: record.state }],
  );
}
