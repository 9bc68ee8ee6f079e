import { type EntityDefinition, EmcacheError } from "@emcache/protocol";
import type { ComponentHealth } from "../runtime/component-health.ts";
import { isAbort, messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import type { EntityRecord, EntityStore } from "./entity-store.ts";

/** A caller of the API waits for this: longer than any healthy PostgreSQL takes, shorter than a proxy's patience. */
const STORE_TIMEOUT_MS = 10_000;
/** First wait after a failed poll; doubles up to the poll's interval. */
const RETRY_MS_MIN = 250;

export interface EntityRegistryOptions {
  readonly store: EntityStore;
  /** How often the store is polled; changes made here or signalled by `refresh` are seen at once. */
  readonly refreshIntervalMs: number;
  readonly logger: Logger;
  /** Degraded while the store can't be read. */
  readonly health: ComponentHealth;
  /** How long one call of the store may take. */
  readonly storeTimeoutMs?: number;
}

/** The versions of one name that are not retired; at least one of them is there. */
export interface EntityVersions {
  readonly live: EntityRecord | null;
  readonly pending: EntityRecord | null;
}

/**
 * The entities as this process knows them: answered from memory, filled from the store at the start, by polling and
 * whenever `refresh` is called. While the store is away the last known list stays.
 *
 * Before the first successful read the list is empty because nothing is known, not because there is nothing: whoever
 * would remove something for lack of an entity waits for `loaded` first. Listeners are called after each change of the
 * list and once for the first read.
 */
export class EntityRegistry implements Service {
  readonly name = "registry";
  readonly #options: EntityRegistryOptions;
  readonly #end = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #firstLoad = Promise.withResolvers<void>();
  #records: readonly EntityRecord[] = [];
  /** Versions that a newer one has replaced, of entities that there still are. */
  #retired: ReadonlyMap<number, EntityRecord> = new Map();
  #isLoaded = false;
  /** Counts what was written through this registry, so that a read that began before does not undo it in memory. */
  #writeCount = 0;
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | null = null;
  #polling: Promise<void> = Promise.resolve();

  constructor(options: EntityRegistryOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#polling = this.#poll();
  }

  async stop(_signal: AbortSignal): Promise<void> {
    this.#end.abort();
    await this.#polling;
    this.#options.health.stopped();
  }

  /** Resolves once the store was read for the first time; throws the signal's reason when it aborts. */
  loaded(signal: AbortSignal): Promise<void> {
    return untilAborted(this.#firstLoad.promise, signal);
  }

  /** All versions that are not retired, ascending by id. */
  list(): readonly EntityRecord[] {
    return this.#records;
  }

  get(name: string): EntityVersions | null {
    const versions = this.#records.filter(({ entity }) => entity.name === name);
    const live = versions.find(({ state }) => state === "live") ?? null;
    const pending = versions.find(({ state }) => state === "pending") ?? null;
    return live === null && pending === null ? null : { live, pending };
  }

  /** One version, retired ones included; null where there is none, or its entity was deleted. */
  find(version: number): EntityRecord | null {
    return this.#records.find(({ entity }) => entity.id === version) ?? this.#retired.get(version) ?? null;
  }

  /** Throws `entity_exists`, `postgres_unavailable`. */
  async create(definition: EntityDefinition): Promise<EntityRecord> {
    const created = await this.#ask((signal) => this.#options.store.create(definition, signal));
    this.#written(definition.name, (records) => [...records, created]);
    return created;
  }

  /** The version that readers will end up with, see `EntityStore.update`. Throws `entity_not_found`, `postgres_unavailable`. */
  async update(name: string, definition: EntityDefinition): Promise<EntityRecord> {
    const updated = await this.#ask((signal) => this.#options.store.update(name, definition, signal));
    this.#written(name, (records) => {
      const replaced = records.filter(({ entity, state }) => state === "pending" && entity.id !== updated.entity.id);
      this.#retire(replaced);
      return [...records.filter(({ entity, state }) => state === "live" && entity.id !== updated.entity.id), updated];
    });
    return updated;
  }

  /** Whether there was such an entity. Throws `postgres_unavailable`. */
  async delete(name: string): Promise<boolean> {
    const existed = await this.#ask((signal) => this.#options.store.delete(name, signal));
    this.#retired = new Map([...this.#retired].filter(([, { entity }]) => entity.name !== name));
    this.#written(name, () => []);
    return existed;
  }

  /**
   * Reads the store; resolves when the list is at least as new as this call. Callers meanwhile share one read.
   * Throws `postgres_unavailable`; the list stays then.
   */
  refresh(): Promise<void> {
    // A read under way may have looked before what the caller knows of: one more after it serves all who came since.
    this.#queued ??= this.#running.then(
      () => this.#startLoad(),
      () => this.#startLoad(),
    );
    return this.#queued;
  }

  /** Calls `listener` after each change of the list. Returns how to end it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #startLoad(): Promise<void> {
    this.#queued = null;
    this.#running = this.#load();
    return this.#running;
  }

  async #load(): Promise<void> {
    const { store, health } = this.#options;
    try {
      for (;;) {
        const writeCount = this.#writeCount;
        const records = await this.#ask((signal) => store.list(signal));
        if (writeCount !== this.#writeCount) continue;
        health.healthy();
        this.#retired = new Map();
        this.#retire(records.filter(({ state }) => state === "retired"));
        this.#replace(records.filter(({ state }) => state !== "retired"));
        return;
      }
    } catch (error) {
      if (!this.#end.signal.aborted) health.degraded(error);
      throw error;
    }
  }

  async #poll(): Promise<void> {
    const { refreshIntervalMs, logger, health } = this.#options;
    const signal = this.#end.signal;
    const onError = (error: unknown, attempt: number, delayMs: number): void => {
      health.retried(error);
      const line = { event: "registry_unreadable", attempt, delayMs, reason: messageOf(error) };
      // One warning for each absence; the health says that it lasts.
      if (attempt === 1) logger.warn(line, "The entity registry can't be read; the last known entities stay");
      else logger.debug(line, "The entity registry still can't be read");
    };
    try {
      for (;;) {
        await retryForever(() => this.refresh(), {
          signal,
          onError,
          delayMsMin: RETRY_MS_MIN,
          delayMsMax: refreshIntervalMs,
        });
        await sleep(refreshIntervalMs, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Takes over at once what this registry wrote: `change` gets and gives the records of one name. */
  #written(name: string, change: (records: readonly EntityRecord[]) => readonly EntityRecord[]): void {
    this.#writeCount++;
    const others = this.#records.filter(({ entity }) => entity.name !== name);
    const own = this.#records.filter(({ entity }) => entity.name === name);
    this.#set([...others, ...change(own)]);
  }

  #retire(records: readonly EntityRecord[]): void {
    const retired = records.map((record): [number, EntityRecord] => [
      record.entity.id,
      { entity: record.entity, state: "retired" },
    ]);
    this.#retired = new Map([...this.#retired, ...retired]);
  }

  #replace(records: readonly EntityRecord[]): void {
    const isFirst = !this.#isLoaded;
    this.#isLoaded = true;
    this.#set(records, isFirst);
    if (isFirst) this.#firstLoad.resolve();
  }

  #set(records: readonly EntityRecord[], isForced = false): void {
    const sorted = records.toSorted((left, right) => left.entity.id - right.entity.id);
    const isChanged = summaryOf(sorted) !== summaryOf(this.#records);
    this.#records = sorted;
    if (!isChanged && !isForced) return;
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        this.#options.logger.error(
          { event: "registry_listener_failed", err: error },
          "A listener of the registry threw",
        );
      }
    }
  }

  /** One call of the store, ended by the time-out or by `stop`, also if the store does not heed its signal. */
  async #ask<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const timeoutMs = this.#options.storeTimeoutMs ?? STORE_TIMEOUT_MS;
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = AbortSignal.any([this.#end.signal, timeout]);
    signal.throwIfAborted();
    try {
      return await untilAborted(call(signal), signal);
    } catch (error) {
      const isTimeout = timeout.aborted && !this.#end.signal.aborted && (error === timeout.reason || isAbort(error));
      if (!isTimeout) throw error;
      const message = `PostgreSQL did not answer within ${timeoutMs / 1000} s`;
      throw new EmcacheError("postgres_unavailable", message, { cause: error });
    }
  }
}

/** Definitions never change, so versions and their states tell two lists apart. */
function summaryOf(records: readonly EntityRecord[]): string {
  return records.map(({ entity, state }) => `${entity.id} ${state}`).join(",");
}
