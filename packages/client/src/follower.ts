import { EmcacheError } from "@emcache/protocol";
import { retryAfterMs } from "./answer-error.ts";
import { Backoff } from "./backoff.ts";
import { CacheFolder } from "./cache-folder.ts";
import { downloadSnapshot } from "./download-snapshot.ts";
import { FolderLock } from "./folder-lock.ts";
import { followGroups, meetingPoint, type FollowGroup } from "./follow-groups.ts";
import type { FollowPage } from "./follow-page.ts";
import type { EntityStatus, FollowReport } from "./follow-report.ts";
import type { FollowEvent } from "./follow-state.ts";
import { FollowedEntity } from "./followed-entity.ts";
import type { HttpClientOptions } from "./http-client.ts";
import { ServerApi } from "./server-api.ts";
import { sleep } from "./sleep.ts";

/** What is followed, and where the files are kept. */
export interface FollowerOptions extends HttpClientOptions {
  /** Folder of the files; made where it is missing. One client a folder. */
  readonly dir: string;
  /** Names of the entities. */
  readonly entities: readonly string[];
  /** How long the server may not answer before what is served counts as stale, in ms. Default 5,000. */
  readonly staleAfterMs?: number | undefined;
}

/** Above a network's hiccup or a server's restart behind a balancer. */
const STALE_AFTER_MS = 5_000;
/** A long poll: half of what proxies cut off at by default (60 s). */
const WAIT_MS = 25_000;
/** How often a part of each file is compared with its checksums, and how much: 4 ms each time. */
const MAINTAIN_MS = 5_000;
const CHECK_BYTES = 4 * 1024 * 1024;
/** Nothing came, though it wasn't waited for: not to ask again at once. */
const IDLE_MS = 200;
/** Snapshots fetched at once; less than the connections that there may be, so that the log is followed beside them. */
const FETCHES_MAX = 4;
/** How often an entity that the server doesn't have is asked for. */
const MISSING_MS = 5_000;

/**
 * Keeps the files of some entities: fetches their snapshots, follows the log, and starts anew where it has to, as
 * `follow-state.ts` says. Files in the folder are opened at once, whether or not the server is there.
 */
export class Follower {
  readonly #api: ServerApi;
  readonly #folder: CacheFolder;
  readonly #lock: FolderLock;
  readonly #entities: readonly FollowedEntity[];
  readonly #staleAfterMs: number;
  readonly #fetching = new Map<FollowedEntity, Promise<void>>();
  readonly #backoff = new Backoff();
  #wake = new AbortController();
  #failingSinceMs: number | null = null;
  #maintainedAtMs = performance.now();

  /** Throws `directory_locked`, `cache_unavailable`, and `bad_request` for what can be no entity's name. */
  constructor(options: FollowerOptions, report: FollowReport) {
    this.#folder = new CacheFolder(options.dir);
    this.#folder.create();
    this.#entities = [...new Set(options.entities)].map((name) => new FollowedEntity(name, this.#folder, report));
    this.#staleAfterMs = options.staleAfterMs ?? STALE_AFTER_MS;
    this.#api = new ServerApi(options);
    this.#lock = FolderLock.acquire(this.#folder.path);
  }

  /** Follows until the signal aborts, then closes the files. Throws only what is a mistake of ours. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#wake.abort();
    signal.addEventListener("abort", wake);
    try {
      for (const entity of this.#entities) entity.open();
      while (!signal.aborted) {
        this.#wake = new AbortController();
        this.#fetchMissing(signal);
        await this.#advance(followGroups(this.#entities), signal);
        this.#maintain();
      }
    } finally {
      signal.removeEventListener("abort", wake);
      await Promise.allSettled(this.#fetching.values());
      this.#close();
    }
  }

  /** Whether each change of an entity's rows is to be told; returns the position from which on it is. */
  watchRows(name: string, isWatched: boolean): number {
    const entity = this.#entities.find((one) => one.name === name);
    if (entity === undefined) return 0;
    entity.watch(isWatched);
    return entity.status().position;
  }

  status(): EntityStatus[] {
    return this.#entities.map((entity) => entity.status());
  }

  /** The groups furthest behind and furthest ahead, so that neither holds the other up. */
  async #advance(groups: readonly FollowGroup[], signal: AbortSignal): Promise<void> {
    const [first, second] = groups;
    const waitSignal = AbortSignal.any([signal, this.#wake.signal]);
    if (first === undefined) {
      await sleep(Math.min(...this.#pauses(), MAINTAIN_MS), waitSignal);
      return;
    }
    const wasAt = first.point.position;
    if (second === undefined) {
      // Who isn't known to be at the head wants to know that first.
      const isLive = first.entities.every(({ state }) => state === "live");
      const waitMs = isLive ? Math.round(Math.min(WAIT_MS, ...this.#pauses())) : 0;
      const askedAtMs = performance.now();
      await this.#follow(first, undefined, waitMs, waitSignal);
      // A server that is about to stop answers at once, with nothing.
      const isEmpty = first.entities.every((entity) => entity.isFollowing && entity.point.position === wasAt);
      if (waitMs > 0 && isEmpty && performance.now() - askedAtMs < IDLE_MS) await sleep(IDLE_MS, waitSignal);
      return;
    }
    await this.#follow(first, second, 0, waitSignal);
    // Where they have met, the next request is for both.
    if (first.entities.some((entity) => entity.isFollowing && entity.point.position === second.point.position)) return;
    const last = groups.at(-1) as FollowGroup;
    if (last.entities.every(({ isFollowing }) => isFollowing)) await this.#follow(last, undefined, 0, waitSignal);
    const hasMoved = first.entities.some((entity) => !entity.isFollowing || entity.point.position !== wasAt);
    if (!hasMoved) await sleep(IDLE_MS, waitSignal);
  }

  async #follow(group: FollowGroup, next: FollowGroup | undefined, waitMs: number, signal: AbortSignal): Promise<void> {
    const { logId, point: after, entities } = group;
    try {
      const query = { logId, after, versions: entities.map(({ version }) => version) };
      const page = await this.#api.follow(query, waitMs, signal);
      this.#failingSinceMs = null;
      this.#backoff.reset();
      await this.#apply(group, page, next);
    } catch (error) {
      if (signal.aborted) return;
      await this.#failed(group, error, signal);
    }
  }

  async #apply(group: FollowGroup, page: FollowPage, next: FollowGroup | undefined): Promise<void> {
    const meeting = meetingPoint(group, next);
    const isCut = meeting !== null && page.point.position > meeting.position;
    const upTo = isCut ? meeting : page.point;
    for (const entity of group.entities) {
      const all = page.rows.get(entity.version) ?? [];
      const rows = isCut ? all.filter(({ position }) => position <= upTo.position) : all;
      const isRetired = page.versions.get(entity.version) === "retired";
      await entity.apply({ rows, upTo, head: page.head, hasMore: page.hasMore || isCut });
      if (isRetired && entity.isFollowing) entity.happened("version_replaced");
    }
  }

  /** What an error of the log's answer means for those who asked. */
  async #failed({ entities }: FollowGroup, error: unknown, signal: AbortSignal): Promise<void> {
    const code = error instanceof EmcacheError ? error.code : "internal";
    if (code === "history_mismatch") return this.#happenedTo(entities, "history_refused", error);
    if (code === "position_too_old") return this.#happenedTo(entities, "position_refused", error);
    if (code === "entity_not_found") return this.#lookUp(entities, signal);
    this.#failingSinceMs ??= performance.now();
    const isLost = performance.now() - this.#failingSinceMs >= this.#staleAfterMs;
    const isRefused = error instanceof EmcacheError && !error.retryable;
    for (const entity of entities) {
      if (isLost || isRefused) entity.happened("server_lost", error);
      else entity.failed(error);
    }
    await sleep(this.#backoff.nextMs(retryAfterMs(error)), signal);
  }

  /** The server lacks a version: which one, and whether the entity has another one, is to be found out. */
  async #lookUp(entities: readonly FollowedEntity[], signal: AbortSignal): Promise<void> {
    for (const entity of entities) {
      try {
        const served = await this.#api.entity(entity.name, signal);
        if (served.entity.id !== entity.version) entity.happened("version_replaced");
      } catch (error) {
        if (signal.aborted) return;
        entity.happened("server_lost", error);
        entity.pause(MISSING_MS);
      }
    }
    await sleep(this.#backoff.nextMs(), signal);
  }

  #happenedTo(entities: readonly FollowedEntity[], event: FollowEvent, error: unknown): void {
    for (const entity of entities) entity.happened(event, error);
  }

  /** Begins to fetch what needs a snapshot, a few at a time. */
  #fetchMissing(signal: AbortSignal): void {
    for (const entity of this.#entities) {
      if (this.#fetching.size >= FETCHES_MAX) return;
      if (!entity.needsSnapshot || this.#fetching.has(entity)) continue;
      const fetching = this.#fetch(entity, signal).finally(() => {
        this.#fetching.delete(entity);
        this.#wake.abort();
      });
      this.#fetching.set(entity, fetching);
    }
  }

  /** One attempt; after a failure the entity waits for the next one. */
  async #fetch(entity: FollowedEntity, signal: AbortSignal): Promise<void> {
    const { name } = entity;
    try {
      const served = await this.#api.entity(name, signal);
      const download = { entity: name, version: served.entity.id, folder: this.#folder, signal };
      const snapshot = await downloadSnapshot(this.#api, download);
      await entity.take(snapshot, served.entity);
    } catch (error) {
      if (signal.aborted) return;
      entity.failed(error);
      const isNone = error instanceof EmcacheError && error.code === "snapshot_not_found";
      // A token that may only read can't have one made; then whoever may is waited for.
      if (isNone && (await this.#createSnapshot(name, signal))) return;
      entity.pause(entity.backoff.nextMs(retryAfterMs(error)));
    }
  }

  /** How long each entity that waits for another attempt still does, in ms. */
  #pauses(): number[] {
    return this.#entities.map(({ pausedMs }) => pausedMs).filter((ms) => ms > 0);
  }

  /** Whether one was made. */
  async #createSnapshot(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#api.createSnapshot(name, signal);
      return true;
    } catch {
      return false;
    }
  }

  #maintain(): void {
    if (performance.now() - this.#maintainedAtMs < MAINTAIN_MS) return;
    this.#maintainedAtMs = performance.now();
    for (const entity of this.#entities) entity.maintain(CHECK_BYTES);
  }

  #close(): void {
    this.#api.close();
    try {
      for (const entity of this.#entities) entity.close();
    } finally {
      this.#lock.release();
    }
  }
}
