import type { Entity, OnDrop, OnReject } from "@emcache/protocol";
import { compileDocumentFilter, type CompiledFilter } from "../entity/document-filter.ts";
import { compileRowMapper, type RowMapper } from "../entity/row-mapper.ts";

/** One entity version that is fed from a collection. */
export interface Target {
  readonly version: number;
  readonly entityName: string;
  readonly collection: string;
  readonly mapper: RowMapper;
  /** Which documents are the entity's; null for all. */
  readonly filter: CompiledFilter | null;
  readonly onReject: OnReject;
  readonly onDrop: OnDrop;
}

/** Which entity versions each collection of a source feeds. */
export class EntityRouting {
  readonly #byVersion = new Map<number, Target>();
  readonly #byCollection = new Map<string, Target[]>();

  /** The versions to be fed now; a mapper that was compiled before is kept. */
  update(entities: readonly Entity[]): void {
    const wanted = new Map(entities.map((entity) => [entity.id, entity]));
    for (const version of this.#byVersion.keys()) if (!wanted.has(version)) this.#byVersion.delete(version);
    for (const entity of wanted.values()) {
      if (this.#byVersion.has(entity.id)) continue;
      this.#byVersion.set(entity.id, {
        version: entity.id,
        entityName: entity.name,
        collection: entity.source,
        mapper: compileRowMapper(entity),
        filter: entity.filter === undefined ? null : compileDocumentFilter(entity.filter),
        onReject: entity.on_reject ?? "null",
        onDrop: entity.on_drop ?? "empty",
      });
    }
    this.#byCollection.clear();
    for (const target of this.#byVersion.values()) {
      const targets = this.#byCollection.get(target.collection);
      if (targets === undefined) this.#byCollection.set(target.collection, [target]);
      else targets.push(target);
    }
  }

  targets(): IterableIterator<Target> {
    return this.#byVersion.values();
  }

  targetsOf(collection: string): readonly Target[] {
    return this.#byCollection.get(collection) ?? [];
  }

  target(version: number): Target | null {
    return this.#byVersion.get(version) ?? null;
  }

  collections(): ReadonlySet<string> {
    return new Set(this.#byCollection.keys());
  }
}
