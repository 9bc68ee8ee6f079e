import { EmcacheError, type Entity, type EntityDefinition } from "@emcache/protocol";
import type { EntityRecord, EntityStore } from "../entity-store.ts";
import { isSameDefinition } from "../same-definition.ts";

/** An `EntityStore` in memory, with a switch that takes it away and one that makes it hang. */
export class MemoryEntityStore implements EntityStore {
  isAway = false;
  isHanging = false;
  /** The port allows it. */
  listsRetired = false;
  listCount = 0;
  #records: EntityRecord[] = [];
  #lastId = 0;

  async list(_signal: AbortSignal): Promise<EntityRecord[]> {
    const records = this.listsRetired ? [...this.#records] : this.#active();
    await this.#answer();
    this.listCount++;
    return records;
  }

  async create(definition: EntityDefinition, _signal: AbortSignal): Promise<EntityRecord> {
    await this.#answer();
    if (this.#versions(definition.name).length > 0) {
      throw new EmcacheError("entity_exists", `There is an entity ${definition.name} already`);
    }
    return this.#add(definition);
  }

  async update(name: string, definition: EntityDefinition, _signal: AbortSignal): Promise<EntityRecord> {
    await this.#answer();
    const versions = this.#versions(name);
    const pending = versions.find(({ state }) => state === "pending");
    const live = versions.find(({ state }) => state === "live");
    const present = pending ?? live;
    if (present === undefined) throw new EmcacheError("entity_not_found", `There is no entity ${name}`);
    if (isSameDefinition(present.entity, definition)) return present;
    if (pending !== undefined) this.#become(pending.entity, "retired");
    if (live !== undefined && isSameDefinition(live.entity, definition)) return live;
    return this.#add(definition);
  }

  async delete(name: string, _signal: AbortSignal): Promise<boolean> {
    await this.#answer();
    const versions = this.#versions(name);
    for (const { entity } of versions) this.#become(entity, "retired");
    return versions.length > 0;
  }

  /** What the append with a version's first `sync_end` does. */
  makeLive(id: number): void {
    const record = this.#active().find(({ entity }) => entity.id === id);
    if (record === undefined) throw new Error(`no version ${id}`);
    for (const { entity, state } of this.#versions(record.entity.name))
      if (state === "live") this.#become(entity, "retired");
    this.#become(record.entity, "live");
  }

  #active(): EntityRecord[] {
    return this.#records.filter(({ state }) => state !== "retired");
  }

  #versions(name: string): EntityRecord[] {
    return this.#active().filter(({ entity }) => entity.name === name);
  }

  #add(definition: EntityDefinition): EntityRecord {
    const entity: Entity = { ...definition, id: ++this.#lastId, created_at: "2026-01-01T00:00:00Z" };
    const record: EntityRecord = { entity, state: "pending" };
    this.#records.push(record);
    return record;
  }

  #become(entity: Entity, state: EntityRecord["state"]): void {
    this.#records = this.#records.map((record) => (record.entity === entity ? { entity, state } : record));
  }

  /** Never in the same turn, like a database. */
  async #answer(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.isHanging) await new Promise(() => undefined);
    if (this.isAway) throw new EmcacheError("postgres_unavailable", "PostgreSQL is away");
  }
}
