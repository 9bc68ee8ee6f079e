import type { EntityDefinition } from "@emcache/protocol";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ComponentHealth } from "../runtime/component-health.ts";
import { createLogger } from "../runtime/logger.ts";
import { EntityRegistry } from "./entity-registry.ts";
import { makeEntity } from "./testing/make-entity.ts";
import { MemoryEntityStore } from "./testing/memory-entity-store.ts";

const UNBOUNDED = new AbortController().signal;

function definition(name: string, path = "$.a"): EntityDefinition {
  const { client, source, shape } = makeEntity([["any", path]]);
  return { name, client, source, shape };
}

let store: MemoryEntityStore;
let health: ComponentHealth;
let registry: EntityRegistry;
let lines: string[];
let changeCount: number;

function makeRegistry(refreshIntervalMs: number, storeTimeoutMs = 5000): EntityRegistry {
  lines = [];
  const logger = createLogger({ level: "debug", destination: { write: (line) => lines.push(line) } });
  const made = new EntityRegistry({ store, refreshIntervalMs, logger, health, storeTimeoutMs });
  changeCount = 0;
  made.onChange(() => changeCount++);
  return made;
}

beforeEach(async () => {
  store = new MemoryEntityStore();
  health = new ComponentHealth("registry");
  registry = makeRegistry(20);
  await registry.start();
  await registry.loaded(UNBOUNDED);
});

afterEach(async () => {
  await registry.stop(UNBOUNDED);
});

/** `id state` of every version, as the registry lists them. */
function listed(): string[] {
  return registry.list().map(({ entity, state }) => `${entity.id} ${state}`);
}

describe("a written entity is known at once", () => {
  test("created, changed, gone live, deleted", async () => {
    const first = await registry.create(definition("users"));
    expect(registry.get("users")).toEqual({ live: null, pending: first });
    store.makeLive(1);
    await registry.refresh();
    expect(listed()).toEqual(["1 live"]);
    const second = await registry.update("users", definition("users", "$.b"));
    expect(registry.get("users")).toMatchObject({ live: { entity: { id: 1 } }, pending: second });
    store.makeLive(2);
    await registry.refresh();
    expect(listed()).toEqual(["2 live"]);
    expect(await registry.delete("users")).toBe(true);
    expect(registry.get("users")).toBeNull();
    expect(await registry.delete("users")).toBe(false);
  });

  test("a second change replaces the pending one, the present definition changes nothing", async () => {
    await registry.create(definition("users"));
    store.makeLive(1);
    await registry.update("users", definition("users", "$.b"));
    expect((await registry.update("users", definition("users", "$.b"))).entity.id).toBe(2);
    await registry.update("users", definition("users", "$.c"));
    await registry.refresh();
    expect(listed()).toEqual(["1 live", "3 pending"]);
    expect(await registry.update("users", definition("users"))).toMatchObject({ entity: { id: 1 }, state: "live" });
    expect(listed()).toEqual(["1 live"]);
    await registry.refresh();
    expect(listed()).toEqual(["1 live"]);
  });

  test("retired versions that the store still lists are left out", async () => {
    store.listsRetired = true;
    await registry.create(definition("users"));
    store.makeLive(1);
    await registry.update("users", definition("users", "$.b"));
    store.makeLive(2);
    await registry.refresh();
    expect(listed()).toEqual(["2 live"]);
    await registry.delete("users");
    await registry.refresh();
    expect(listed()).toEqual([]);
  });

  test("what the store refuses is thrown", async () => {
    await registry.create(definition("users"));
    await expect(registry.create(definition("users"))).rejects.toMatchObject({ code: "entity_exists" });
    await expect(registry.update("nobody", definition("nobody"))).rejects.toMatchObject({ code: "entity_not_found" });
    expect(listed()).toEqual(["1 pending"]);
  });

  test("and a read that began before does not undo it", async () => {
    const reading = registry.refresh();
    await registry.create(definition("users"));
    const seen: number[] = [];
    registry.onChange(() => seen.push(registry.list().length));
    await reading;
    await registry.refresh();
    expect(seen).toEqual([]);
    expect(listed()).toEqual(["1 pending"]);
  });
});

test("what other processes write is found by polling", async () => {
  await store.create(definition("users"), UNBOUNDED);
  await vi.waitFor(() => expect(listed()).toEqual(["1 pending"]));
  store.makeLive(1);
  await vi.waitFor(() => expect(listed()).toEqual(["1 live"]));
});

test("listeners hear of the first read and of changes only, and one that throws disturbs nobody", async () => {
  expect(changeCount).toBe(1);
  const end = registry.onChange(() => {
    throw new Error("mine");
  });
  let laterCount = 0;
  registry.onChange(() => laterCount++);
  await registry.create(definition("users"));
  await registry.refresh();
  await registry.refresh();
  expect([changeCount, laterCount]).toEqual([2, 1]);
  expect(lines.filter((line) => line.includes("registry_listener_failed"))).toHaveLength(1);
  end();
  await registry.delete("users");
  expect(laterCount).toBe(2);
  expect(lines.filter((line) => line.includes("registry_listener_failed"))).toHaveLength(1);
});

describe("while the store is away", () => {
  test("the last list stays, the health says why, and it heals by itself", async () => {
    await registry.create(definition("users"));
    store.isAway = true;
    await vi.waitFor(() => expect(health.state()).toMatchObject({ status: "degraded", code: "postgres_unavailable" }));
    expect(listed()).toEqual(["1 pending"]);
    await expect(registry.create(definition("more"))).rejects.toMatchObject({ code: "postgres_unavailable" });
    await expect(registry.refresh()).rejects.toMatchObject({ code: "postgres_unavailable" });
    store.isAway = false;
    await vi.waitFor(() => expect(health.state().status).toBe("healthy"));
    expect(lines.filter((line) => line.includes('"level":"warn"'))).toHaveLength(1);
  });

  test("a start is no failure, and nothing is taken for known", async () => {
    await registry.stop(UNBOUNDED);
    store.isAway = true;
    health = new ComponentHealth("registry");
    registry = makeRegistry(20);
    await registry.start();
    await vi.waitFor(() => expect(health.state().reason).toBe("PostgreSQL is away"));
    await expect(registry.loaded(AbortSignal.timeout(1))).rejects.toMatchObject({ name: "TimeoutError" });
    expect(changeCount).toBe(0);
    store.isAway = false;
    await registry.loaded(UNBOUNDED);
    expect(changeCount).toBe(1);
  });
});

test("a store that hangs ends no wait but by the time-out, and does not hold up stop", async () => {
  await registry.stop(UNBOUNDED);
  registry = makeRegistry(20, 30);
  store.isHanging = true;
  await registry.start();
  await expect(registry.create(definition("users"))).rejects.toMatchObject({
    code: "postgres_unavailable",
    message: "PostgreSQL did not answer within 0.03 s",
  });
  await vi.waitFor(() => expect(health.state()).toMatchObject({ status: "degraded", code: "postgres_unavailable" }));
  await registry.stop(UNBOUNDED);
  expect(health.state().status).toBe("stopped");
  await expect(registry.create(definition("users"))).rejects.toMatchObject({ name: "AbortError" });
});

test("callers of refresh share reads", async () => {
  await registry.stop(UNBOUNDED);
  registry = makeRegistry(60_000);
  await registry.start();
  await registry.loaded(UNBOUNDED);
  const before = store.listCount;
  await Promise.all(Array.from({ length: 50 }, () => registry.refresh()));
  expect(store.listCount - before).toBeLessThanOrEqual(2);
});
