import type { Entity, EntityDefinition } from "@emcache/protocol";

/**
 * What a version is in:
 * - `pending`: being copied for the first time beside the live one, if there is one;
 * - `live`: the one that is served;
 * - `retired`: replaced by a newer version or deleted; its rows go with the oplog's partitions.
 */
export type EntityVersionState = "pending" | "live" | "retired";

/** One version of an entity and what it is now. */
export interface EntityRecord {
  readonly entity: Entity;
  readonly state: EntityVersionState;
}

/**
 * Where entities are kept (`oplog/postgres-entity-store.ts`), shared by all processes.
 *
 * Of one name there is at most one `live` and at most one `pending` version. A version begins as `pending`; the append
 * that commits its first `sync_end` makes it `live` and retires the older live one in the same transaction, which is
 * not this port's business. A version's definition never changes; ids rise and are never used again.
 *
 * Each method is one transaction: it has happened completely or not at all, whatever other processes do meanwhile.
 * Every method throws `postgres_unavailable` where the store can't be reached, and the signal's reason once it aborts;
 * a write that was cut off that way may have happened. Definitions come validated.
 */
export interface EntityStore {
  /** All versions that are not `retired`, ascending by id. Retired ones of entities that there still are may be among them. */
  list(signal: AbortSignal): Promise<EntityRecord[]>;

  /** Makes the first, pending version of a new name. Throws `entity_exists` where the name has a live or pending one. */
  create(definition: EntityDefinition, signal: AbortSignal): Promise<EntityRecord>;

  /**
   * Changes the entity called `name` (`definition.name` is the same) and returns the version that its readers will end
   * up with. That is a new pending one, which retires a pending one that was there. But a definition equal
   * (`isSameDefinition`) to the pending version's, or to the live one's while nothing is pending, makes no version and
   * returns that one; and one equal to the live version's while another is pending retires the pending one and returns
   * the live one. Throws `entity_not_found` where the name has neither a live nor a pending version.
   */
  update(name: string, definition: EntityDefinition, signal: AbortSignal): Promise<EntityRecord>;

  /** Retires all versions of the name. False where there was none. */
  delete(name: string, signal: AbortSignal): Promise<boolean>;
}
