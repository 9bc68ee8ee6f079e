import type { Entity } from "@emcache/protocol";
import type { CacheRecord } from "../../packages/server/src/cache/cache-set.ts";
import type { MemoryOplog } from "../../packages/server/src/oplog/testing/memory-oplog.ts";
import type { CapturedEntities } from "../../packages/server/src/source/source-service.ts";
import type { Party, Scheduler } from "./scheduler.ts";

type ColumnType = Entity["shape"]["columns"][number]["type"];

/** Which collection each entity is of, and the columns of its versions, one after the other. */
const ENTITIES: readonly { readonly name: string; readonly collection: string }[] = [
  { name: "one", collection: "a" },
  { name: "two", collection: "b" },
  { name: "both", collection: "a" },
];

const SHAPES: readonly (readonly [string, ColumnType][])[] = [
  [
    ["n", "integer"],
    ["s", "string"],
  ],
  [["n", "number"]],
  [["s", "any"]],
];

/** The entities of a run, and what each process knows of them. */
export class SimRegistry {
  readonly oplog: MemoryOplog;
  readonly entities = new Map<number, Entity>();
  readonly #scheduler: Scheduler;
  readonly #listeners = new Set<() => void>();
  /** Told of each version that is made. */
  readonly #onVersion: (entity: Entity) => void;

  constructor(oplog: MemoryOplog, scheduler: Scheduler, onVersion: (entity: Entity) => void) {
    this.oplog = oplog;
    this.#scheduler = scheduler;
    this.#onVersion = onVersion;
  }

  /** A first or a further version of the entity of this number. */
  addVersion(number: number): void {
    const given = ENTITIES[number % ENTITIES.length];
    if (given === undefined) return;
    const { name, collection } = given;
    const id = this.entities.size + 1;
    const shape = SHAPES[id % SHAPES.length] ?? [];
    const entity: Entity = {
      id,
      name,
      client: "main",
      source: collection,
      created_at: "2026-01-01T00:00:00Z",
      shape: {
        id_column: { path: "$._id", type: "string" },
        columns: [
          { name: "rev", type: "integer", path: "$.rev" },
          ...shape.map(([column, type]) => ({ name: column, type, path: `$.${column}` })),
        ],
        indexes: [],
      },
    };
    for (const stored of this.oplog.versions.values()) {
      if (stored.name === name && stored.state === "pending") stored.state = "retired";
    }
    this.entities.set(id, entity);
    this.oplog.versions.set(id, { version: id, name, state: "pending" });
    this.#onVersion(entity);
    this.changed();
  }

  /** Versions that are pending or live, as they are now. */
  records(): CacheRecord[] {
    return [...this.oplog.versions.values()].flatMap(({ version, state }) => {
      const entity = this.entities.get(version);
      return entity === undefined || state === "retired" ? [] : [{ entity, state }];
    });
  }

  copyRequests(): readonly number[] {
    return [...this.oplog.copyRequests];
  }

  requestCopy(version: number): void {
    if (this.oplog.versions.get(version)?.state !== "retired") this.oplog.copyRequests.add(version);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** What a process knows: it hears of changes later. */
  viewOf(party: Party): CapturedEntities & { records(): readonly CacheRecord[] } {
    let known = this.records();
    const told = new Set<() => void>();
    this.#listeners.add(() => {
      this.#scheduler.add("hears of the registry", party, () => {
        known = this.records();
        for (const listener of told) listener();
      });
    });
    return {
      list: () => known.map(({ entity }) => entity),
      records: () => known,
      onChange: (listener) => {
        told.add(listener);
        return () => told.delete(listener);
      },
    };
  }
}
