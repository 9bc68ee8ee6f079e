import { EventEmitter } from "node:events";
import { EmcacheError, ERROR_CATALOGUE, type ErrorCode } from "@emcache/protocol";
import type { Database } from "better-sqlite3";
import { CacheFolder } from "./cache-folder.ts";
import type { FollowerOptions } from "./follower.ts";
import { FollowerThread } from "./follower-thread.ts";
import type { EntityStatus, Row } from "./follow-report.ts";
import { PositionWaiters, type WaitOptions } from "./position-waiters.ts";
import { RowReaders, type QueryParameter } from "./row-readers.ts";
import { ServerApi } from "./server-api.ts";
import { waitForTime } from "./source-time.ts";
import { type ChangeListener, type Subscription, Subscriptions, type Where } from "./subscriptions.ts";
import { type RowsListener, WatchedQuery } from "./watched-query.ts";

/** How a client stands as a whole: `live` where all entities are, `stale` where one isn't after all were. */
export interface CacheStatus {
  readonly state: "opening" | "live" | "stale" | "closed";
  readonly entities: Readonly<Record<string, EntityStatus>>;
}

/** The events of a cache, with what listeners are called with. */
export interface CacheEvents {
  /** All entities are up to date as of the server's last answer. */
  live: [];
  /** An entity isn't up to date any more, or may not be: its `error` says why. */
  stale: [status: EntityStatus];
  /** Another file is served for an entity: ask `db` for a new connection. */
  reset: [status: EntityStatus];
  /** A listener of `subscribe` or `watch` threw, or the client's thread ended. */
  error: [error: unknown];
}

/** Which entities a wait is for. */
export interface WaitForOptions extends WaitOptions {
  /** Default: all. */
  readonly entities?: readonly string[] | undefined;
}

/** Errors that waiting doesn't mend while there is nothing to serve. */
const HOPELESS: ReadonlySet<string> = new Set<ErrorCode>(["server_refused", "entity_not_found", "not_found"]);

/**
 * The caches of some entities, kept up to date by a thread of their own. Reading them is reading local SQLite files.
 * Made by `openCache`.
 */
export class LocalCache<Entities extends object = Record<string, Row>> extends EventEmitter<CacheEvents> {
  readonly #names: readonly string[];
  readonly #folder: CacheFolder;
  readonly #readers: RowReaders;
  readonly #thread: FollowerThread;
  readonly #api: ServerApi;
  readonly #statuses = new Map<string, EntityStatus>();
  readonly #waiters = new PositionWaiters();
  readonly #subscriptions = new Subscriptions((error) => this.#tellError(error));
  readonly #queries = new Set<WatchedQuery>();
  readonly #changed = new Set<string>();
  #state: CacheStatus["state"] = "opening";

  /** Use `openCache`. */
  constructor(options: FollowerOptions) {
    super();
    this.#names = [...new Set(options.entities)];
    this.#folder = new CacheFolder(options.dir);
    this.#readers = new RowReaders(this.#folder, this.#names);
    this.#api = new ServerApi(options);
    this.#thread = new FollowerThread(options, {
      status: (status) => this.#take(status),
      rowsChanged: (entity) => this.#evaluateSoon(entity),
      changes: (entity, changes) => this.#subscriptions.tell(entity, changes),
    });
    void this.#thread.ended().then((error) => {
      if (this.#state === "closed") return;
      this.#waiters.fail(error ?? closedError());
      this.#state = "stale";
      if (error !== null && this.listenerCount("error") > 0) this.emit("error", error);
    });
  }

  /** Resolves when every entity can be read. `openCache` waits for it. */
  async opened(signal?: AbortSignal): Promise<void> {
    await this.#thread.opened;
    const isReadable = (): boolean => {
      for (const { path, error } of this.#statuses.values()) {
        if (path === null && error !== null && HOPELESS.has(error.code)) throw catalogueError(error);
      }
      return this.#names.every((name) => (this.#statuses.get(name)?.path ?? null) !== null);
    };
    // A timer of the greatest length there is: the signal is what ends it.
    await this.#waiters.wait(isReadable, () => "the first files", { signal, timeoutMs: 2 ** 31 - 1 });
  }

  /** Path that always leads to an entity's served file, for worker threads and other programs. Open it read-only. */
  path(entity: string & keyof Entities): string {
    return this.#folder.linkPath(entity);
  }

  /**
   * A read-only better-sqlite3 connection to an entity's file: table `data`, and a view of the entity's name. It is
   * shared by all who ask on this thread; don't close it. After `reset` ask again: it reads the former file until then.
   */
  db(entity: string & keyof Entities): Database {
    this.#requireOpen();
    return this.#readers.of(entity);
  }

  /** Rows of any SQL over the entities, by their names. INTEGER values beyond 2^53 are bigints. */
  query<R extends object = Row>(sql: string, ...parameters: QueryParameter[]): R[] {
    this.#requireOpen();
    return this.#readers.query(sql, parameters) as R[];
  }

  /** The row of an id, or null. */
  get<Name extends string & keyof Entities>(entity: Name, id: string | number | bigint): Entities[Name] | null {
    this.#requireOpen();
    return this.#readers.get(entity, id) as Entities[Name] | null;
  }

  /**
   * Waits until the caches hold everything up to a position of the log, or everything that the source acknowledged
   * before a time (a Date, or epoch ms, of this machine's clock). After that, reads see it in all of `entities`.
   *
   * @throws EmcacheError `wait_timed_out`; the signal's reason
   */
  async waitFor(until: number | { readonly time: Date | number }, options: WaitForOptions = {}): Promise<void> {
    this.#requireOpen();
    const names = options.entities ?? this.#names;
    const wait = (entities: readonly string[], position: number, more: WaitOptions): Promise<void> => {
      const isThere = (): boolean => entities.every((name) => this.#reaches(name, position));
      return this.#waiters.wait(isThere, () => `position ${position} of ${entities.join(", ")}`, more);
    };
    if (typeof until === "number") return wait(names, until, options);
    const timeMs = typeof until.time === "number" ? until.time : until.time.getTime();
    await waitForTime(this.#api, names, timeMs, options, (entity, position, more) => wait([entity], position, more));
  }

  /**
   * Calls a function with what became of each of an entity's rows, in order, with the row before and after; changes of
   * a row that become visible together are told as one. With `where`, only what happens to the rows meant: one that
   * joins them is new, one that leaves them is gone. Resolves when it is in force: everything after `position` is told,
   * also across a reset.
   */
  async subscribe<Name extends string & keyof Entities>(
    entity: Name,
    { where }: { readonly where?: Where<Entities[Name] & object> },
    listener: ChangeListener<Entities[Name] & object>,
  ): Promise<Subscription> {
    this.#requireOpen();
    const end = this.#subscriptions.add(entity, (where ?? null) as Where | null, listener as ChangeListener);
    const position = await this.#thread.watchRows(entity, true);
    const close = (): void => {
      end();
      if (!this.#subscriptions.has(entity) && this.#state !== "closed") void this.#thread.watchRows(entity, false);
    };
    return { position, close };
  }

  /**
   * Calls a function with a query's rows now, and again whenever they are others: it is evaluated only when a table
   * that it reads changed. Returns the function that ends it. Throws SQLite's error where the query is wrong.
   */
  watch<R extends object = Row>(
    sql: string,
    parameters: readonly QueryParameter[],
    listener: RowsListener<R>,
  ): () => void {
    this.#requireOpen();
    const query = new WatchedQuery(this.#readers, sql, parameters, listener as unknown as RowsListener);
    this.#queries.add(query);
    query.evaluate();
    return () => this.#queries.delete(query);
  }

  /** How each entity stands. */
  status(): CacheStatus {
    return { state: this.#state, entities: Object.fromEntries(this.#statuses) };
  }

  /** Stops following and closes all connections. The files stay, for the next start. Closing twice does nothing. */
  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#queries.clear();
    this.#waiters.fail(closedError());
    await this.#thread.close();
    this.#api.close();
    this.#readers.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #take(status: EntityStatus): void {
    if (this.#state === "closed") return;
    const before = this.#statuses.get(status.name);
    this.#statuses.set(status.name, status);
    const isReplaced = before?.path !== undefined && before.path !== null && before.path !== status.path;
    if (isReplaced) this.#readers.replaced(status.name);
    this.#waiters.moved();
    if (isReplaced && status.path !== null) this.emit("reset", status);
    const isLive = this.#names.every((name) => this.#statuses.get(name)?.state === "live");
    if (isLive && this.#state !== "live") {
      this.#state = "live";
      this.emit("live");
    } else if (!isLive && (this.#state === "live" || (this.#state === "opening" && status.state === "stale"))) {
      this.#state = "stale";
      this.emit("stale", status);
    }
  }

  #reaches(name: string, position: number): boolean {
    const status = this.#statuses.get(name);
    if (status === undefined) throw new EmcacheError("bad_request", `the cache was opened without the entity ${name}`);
    return status.path !== null && status.state !== "resetting" && status.position >= position;
  }

  /** All that one page changed is looked at together. */
  #evaluateSoon(entity: string): void {
    if (this.#changed.size === 0) setImmediate(() => this.#evaluate());
    this.#changed.add(entity);
  }

  #evaluate(): void {
    const changed = new Set(this.#changed);
    this.#changed.clear();
    for (const query of this.#queries) {
      try {
        if (query.reads(changed)) query.evaluate();
      } catch (error) {
        this.#tellError(error);
      }
    }
  }

  #tellError(error: unknown): void {
    // Outside of what is being told: with no listener it is thrown, and must not end that.
    setImmediate(() => this.emit("error", error));
  }

  #requireOpen(): void {
    if (this.#state === "closed") throw closedError();
  }
}

function closedError(): EmcacheError {
  return new EmcacheError("client_closed", "the client was closed");
}

function catalogueError({ code, detail, hint }: { code: string; detail: string; hint: string }): EmcacheError {
  return new EmcacheError(Object.hasOwn(ERROR_CATALOGUE, code) ? (code as ErrorCode) : "internal", detail, { hint });
}
