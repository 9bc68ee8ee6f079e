import type { SnapshotManifest } from "@emcache/protocol";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { ObjectShelf } from "./object-shelf.ts";
import type { SnapshotOplog, SnapshotRegistry } from "./snapshot-dependencies.ts";
import type { SnapshotFinder } from "./snapshot-finder.ts";
import type { SnapshotRegister } from "./snapshot-register.ts";
import type { SnapshotShelf } from "./snapshot-shelf.ts";
import type { ListedRecord, SnapshotStore } from "./snapshot-store-port.ts";
import { type KeepSettings, snapshotsToRemove } from "./snapshots-to-remove.ts";

/** How often object storage is searched for what is not needed any more. */
const COLLECT_INTERVAL_MS = 3_600_000;

/** What it works with. */
export interface ObjectSyncParts {
  readonly objects: ObjectShelf;
  readonly shelf: SnapshotShelf;
  readonly finder: SnapshotFinder;
  readonly register: SnapshotRegister;
  readonly store: SnapshotStore;
  readonly registry: SnapshotRegistry;
  readonly oplog: Pick<SnapshotOplog, "head">;
  readonly keep: KeepSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Brings this machine's snapshots to object storage, and removes from there what is not kept. */
export class ObjectSync {
  readonly #parts: ObjectSyncParts;
  #collectedAtMs = -Infinity;

  constructor(parts: ObjectSyncParts) {
    this.#parts = parts;
  }

  /** One round. An upload that was interrupted goes on in the next. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, shelf, finder, clock } = this.#parts;
    const records = new Map((await store.list(null, signal)).map((record) => [record.manifest.id, record]));
    const keys = new Map<string, string>();
    for (const { id } of shelf.all()) {
      const key = records.get(id)?.objectKey ?? null;
      if (key !== null) keys.set(id, key);
    }
    finder.setStoredKeys(keys);
    for (const manifest of shelf.all()) {
      const record = records.get(manifest.id);
      if (record === undefined || record.isDeleted || record.objectKey !== null) continue;
      const key = await this.#upload(manifest, signal);
      if (key !== null) keys.set(manifest.id, key);
      finder.setStoredKeys(keys);
    }
    if (clock.monotonicMs() - this.#collectedAtMs < COLLECT_INTERVAL_MS) return;
    await this.#collect(signal);
    this.#collectedAtMs = clock.monotonicMs();
  }

  async #upload({ id }: SnapshotManifest, signal: AbortSignal): Promise<string | null> {
    const { objects, shelf, store } = this.#parts;
    const file = await shelf.find((manifest) => manifest.id === id);
    if (file === null) return null;
    const key = await objects.store(file, signal);
    if (!shelf.all().some((manifest) => manifest.id === id)) {
      // It was removed while it was on its way.
      await objects.remove(key, signal);
      return null;
    }
    await store.setObjectKey(id, key, signal);
    return key;
  }

  async #collect(signal: AbortSignal): Promise<void> {
    const { objects, store, registry, oplog, shelf, clock } = this.#parts;
    await registry.loaded(signal);
    const { logId } = await oplog.head();
    const records = await store.list(null, signal);
    const here = new Set(shelf.all().map(({ id }) => id));
    for (const record of this.#unkept(records)) {
      if (here.has(record.manifest.id) || record.objectKey === null) continue;
      await objects.remove(record.objectKey, signal);
      await store.remove(record.manifest.id, signal);
    }
    // Read again: what another process stored meanwhile is registered by now or too young to be an orphan.
    const keys = (await store.list(null, signal)).flatMap(({ objectKey }) => objectKey ?? []);
    await objects.collect(logId, new Set(keys), clock.nowMs(), signal);
  }

  /** Stored ones that nobody looks after: of versions that are gone, or more than are kept, of holders that are gone. */
  #unkept(records: readonly ListedRecord[]): ListedRecord[] {
    const { registry, register, keep, clock } = this.#parts;
    const stored = records.filter(({ objectKey }) => objectKey !== null);
    const registered = new Set(registry.list().flatMap(({ entity, state }) => (state === "retired" ? [] : entity.id)));
    return [...Map.groupBy(stored, ({ manifest }) => manifest.version)].flatMap(([version, ofVersion]) => {
      const manifests = ofVersion.map(({ manifest }) => manifest);
      const removed = registered.has(version) ? snapshotsToRemove(manifests, keep, clock.nowMs()) : manifests;
      const ids = new Set(removed.map(({ id }) => id));
      return ofVersion.filter((record) => ids.has(record.manifest.id) && !register.isHeldElsewhere(record));
    });
  }
}
