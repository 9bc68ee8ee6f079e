import type { EntityDefinition } from "@emcache/protocol";
import type { FastifyRequest } from "fastify";
import type { Access } from "./access.ts";
import type { EntityRegistryPort, EntityVersions, RegisteredEntity } from "./api-dependencies.ts";

/** The registry as the sender of a request may see it. Every route that names or lists entities goes through it. */
export function visibleTo(request: FastifyRequest, registry: EntityRegistryPort): EntityRegistryPort {
  return new VisibleRegistry(registry, request.access);
}

/**
 * What is asked by a name that the token is not for is refused; what is asked by a number, which says nothing to whoever
 * guesses it, is not there; lists leave it out. A token that counts no more sees nothing from then on, so that requests
 * that wait and streams end too.
 */
class VisibleRegistry implements EntityRegistryPort {
  readonly #registry: EntityRegistryPort;
  readonly #access: Access;

  constructor(registry: EntityRegistryPort, access: Access) {
    this.#registry = registry;
    this.#access = access;
  }

  find(version: number): RegisteredEntity | { readonly entity: RegisteredEntity["entity"]; state: "retired" } | null {
    this.#access.requireCurrent();
    const found = this.#registry.find(version);
    return found !== null && this.#access.allowsEntity(found.entity.name) ? found : null;
  }

  list(): readonly RegisteredEntity[] {
    this.#access.requireCurrent();
    return this.#registry.list().filter(({ entity }) => this.#access.allowsEntity(entity.name));
  }

  get(name: string): EntityVersions | null {
    this.#require(name);
    return this.#registry.get(name);
  }

  async create(definition: EntityDefinition): Promise<RegisteredEntity> {
    this.#require(definition.name);
    return this.#registry.create(definition);
  }

  async update(name: string, definition: EntityDefinition): Promise<RegisteredEntity> {
    this.#require(name);
    return this.#registry.update(name, definition);
  }

  async delete(name: string): Promise<boolean> {
    this.#require(name);
    return this.#registry.delete(name);
  }

  refresh(): Promise<void> {
    return this.#registry.refresh();
  }

  onChange(listener: () => void): () => void {
    return this.#registry.onChange(listener);
  }

  #require(name: string): void {
    this.#access.requireCurrent();
    this.#access.requireEntity(name);
  }
}
