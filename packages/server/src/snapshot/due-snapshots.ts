import { EmcacheError, type Entity, type SnapshotManifest } from "@emcache/protocol";
import { Cron } from "croner";
import type { Clock } from "../runtime/clock.ts";
import { EntryCounter } from "./entry-counter.ts";
import type { SnapshotDependencies } from "./snapshot-dependencies.ts";

/** What is to be done for an entity: nothing, make a snapshot, or stamp the newest one anew for a later point. */
export type DueAction =
  | { readonly kind: "none" | "build" }
  | { readonly kind: "stamp"; readonly point: { readonly position: number; readonly tag: string } };

const NONE: DueAction = { kind: "none" };
const BUILD: DueAction = { kind: "build" };

/**
 * A snapshot that is so much older than its cache, in time or in positions, holds back retention (which keeps the log
 * from the newest snapshot on), however few entries its entity had since. An hour is a twenty-fourth of
 * `retention.age`, a million positions a fiftieth of `retention.rows_max`.
 */
const REFRESHED_AFTER_MS = 3_600_000;
const REFRESHED_AFTER_POSITIONS = 1_000_000;

/** Snapshots that take longer than this are made by themselves for at most this share of the time. */
const LONG_BUILD_MS = 5_000;
const TIME_SHARE_MAX = 0.1;

/** Decides when an entity needs a new snapshot. */
export class DueSnapshots {
  readonly #dependencies: Pick<SnapshotDependencies, "caches" | "minLag">;
  readonly #counter: EntryCounter;
  readonly #clock: Clock;
  readonly #cron: Cron | null;
  /** Monotonic ms before which none is made by itself, by version. */
  readonly #restUntilMs = new Map<number, number>();
  #scheduledAtMs = Infinity;
  /** Versions that the schedule still has to make one of. */
  #scheduled = new Set<number>();

  constructor(dependencies: Pick<SnapshotDependencies, "caches" | "minLag" | "oplog" | "schedule">, clock: Clock) {
    this.#dependencies = dependencies;
    this.#counter = new EntryCounter(dependencies.oplog);
    this.#clock = clock;
    const { schedule } = dependencies;
    // Never runs by itself: it only tells the times.
    this.#cron = schedule === null ? null : new Cron(schedule, { timezone: "UTC", paused: true });
    this.#scheduledAtMs = this.#nextAtMs();
  }

  /** Epoch ms at which the schedule wants snapshots; Infinity without one. */
  get scheduledAtMs(): number {
    return this.#scheduledAtMs;
  }

  /** Begins a round of looks at these versions. */
  begin(versions: ReadonlySet<number>): void {
    this.#counter.keepOnly(versions);
    for (const version of this.#restUntilMs.keys()) if (!versions.has(version)) this.#restUntilMs.delete(version);
    if (this.#clock.nowMs() < this.#scheduledAtMs) return;
    this.#scheduled = new Set(versions);
    this.#scheduledAtMs = this.#nextAtMs();
  }

  /** @param newest the newest snapshot that there is of the entity; null where there is none */
  async actionFor({ id }: Entity, newest: SnapshotManifest | null, signal: AbortSignal): Promise<DueAction> {
    const status = this.#dependencies.caches.statuses().get(id);
    if (status === undefined || status.dataState !== "whole") return NONE;
    if (this.#scheduled.has(id)) return BUILD;
    if (newest === null) return BUILD;
    if ((this.#restUntilMs.get(id) ?? 0) > this.#clock.monotonicMs()) return NONE;
    const wanted = Math.max(this.#dependencies.minLag, 1);
    const behind = status.position - newest.position;
    if (behind <= 0) return NONE;
    const isOld =
      behind >= REFRESHED_AFTER_POSITIONS || this.#clock.nowMs() - Date.parse(newest.created_at) >= REFRESHED_AFTER_MS;
    if (behind < wanted && !isOld) return NONE;
    const entries = await this.#counter
      .count(id, newest.position, status.position, wanted, signal)
      .catch((error: unknown) => {
        // What came after it was dropped from the log: nobody can start from it any more.
        if (error instanceof EmcacheError && error.code === "position_too_old") return wanted;
        throw error;
      });
    if (entries >= wanted) return BUILD;
    if (!isOld) return NONE;
    const { position, tag = "" } = status;
    return entries === 0 && tag !== "" ? { kind: "stamp", point: { position, tag } } : BUILD;
  }

  /** A snapshot was made, and how long it took. */
  made(version: number, tookMs: number): void {
    this.#scheduled.delete(version);
    const restMs = tookMs < LONG_BUILD_MS ? 0 : tookMs / TIME_SHARE_MAX;
    this.#restUntilMs.set(version, this.#clock.monotonicMs() + restMs);
  }

  #nextAtMs(): number {
    return this.#cron?.nextRun(new Date(this.#clock.nowMs()))?.getTime() ?? Infinity;
  }
}
