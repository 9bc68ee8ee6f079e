import type pg from "pg";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Service } from "../runtime/service.ts";
import { sleep } from "../runtime/sleep.ts";
import { OwnConnection } from "./own-connection.ts";

const COMMIT_CHANNEL = "emcache_commit";
const REGISTRY_CHANNEL = "emcache_registry";

/** How often a silent LISTEN connection is asked whether it still lives, and how long it may take. */
const CHECK_INTERVAL_MS = 10_000;
const NOTIFY_TIMEOUT_MS = 10_000;

export interface CommitSignalOptions {
  /** `Postgres` is one. */
  readonly postgres: { newClient(): pg.Client };
  readonly logger: Logger;
}

/**
 * Wakes those who wait for the log to grow or for the registry to change: in this process directly, in others by
 * NOTIFY. A signal may be lost (behind PgBouncer all of them are), so every waiter also looks from time to time.
 *
 * NOTIFY takes a lock of the whole cluster until its commit is flushed. So it is not part of the appends, and at most
 * one is under way, always with the newest head: under load many appends share one.
 */
export class CommitSignal implements Service {
  readonly name = "commit-signal";
  readonly #options: CommitSignalOptions;
  readonly #notifier: OwnConnection;
  readonly #commitListeners = new Set<(head: number) => void>();
  readonly #registryListeners = new Set<() => void>();
  readonly #end = new AbortController();
  #listening: Promise<void> = Promise.resolve();
  /** The highest head that the listeners of this process were told. */
  #signalled = 0;
  /** What the others have to be told yet. */
  #headToSend: number | null = null;
  #registryToSend = false;
  #sending: Promise<void> | null = null;

  constructor(options: CommitSignalOptions) {
    this.#options = options;
    this.#notifier = new OwnConnection(() => options.postgres.newClient());
  }

  /** Calls `listener` with the head after each commit that this process hears of. Returns how to end it. */
  onCommit(listener: (head: number) => void): () => void {
    this.#commitListeners.add(listener);
    return () => this.#commitListeners.delete(listener);
  }

  /** Calls `listener` when an entity was created, changed, deleted or became live, here or elsewhere. */
  onRegistryChange(listener: () => void): () => void {
    this.#registryListeners.add(listener);
    return () => this.#registryListeners.delete(listener);
  }

  /** To be called after an append of this process was committed, with its last position. */
  committed(head: number): void {
    this.#signalCommit(head);
    this.#headToSend = Math.max(head, this.#headToSend ?? 0);
    this.#send();
  }

  /** To be called after this process changed the registry. */
  registryChanged(): void {
    this.#signalRegistry();
    this.#registryToSend = true;
    this.#send();
  }

  async start(): Promise<void> {
    this.#listening = this.#listenUntilEnd().catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#listening;
    await this.#sending;
    await this.#notifier.close();
  }

  #signalCommit(head: number): void {
    if (head <= this.#signalled) return;
    this.#signalled = head;
    for (const listener of this.#commitListeners) listener(head);
  }

  #signalRegistry(): void {
    for (const listener of this.#registryListeners) listener();
  }

  #send(): void {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = null;
    });
  }

  async #sendAll(): Promise<void> {
    while (!this.#end.signal.aborted && (this.#headToSend !== null || this.#registryToSend)) {
      const head = this.#headToSend;
      const isRegistry = this.#registryToSend;
      this.#headToSend = null;
      this.#registryToSend = false;
      try {
        if (head !== null)
          await this.#notifier.query("SELECT pg_notify($1, $2)", [COMMIT_CHANNEL, String(head)], NOTIFY_TIMEOUT_MS);
        if (isRegistry) await this.#notifier.query("SELECT pg_notify($1, '')", [REGISTRY_CHANNEL], NOTIFY_TIMEOUT_MS);
      } catch (error) {
        // The others look by themselves.
        this.#options.logger.debug({ event: "notify_failed" }, messageOf(error));
      }
    }
  }

  async #listenUntilEnd(): Promise<void> {
    const { signal } = this.#end;
    for (;;) {
      await retryForever(() => this.#listen(signal), {
        signal,
        delayMsMin: 50,
        delayMsMax: 5_000,
        onError: (error, attempt) => {
          this.#options.logger.debug({ event: "listen_lost", attempt }, messageOf(error));
        },
      });
    }
  }

  /** One connection's life; ends by throwing. */
  async #listen(signal: AbortSignal): Promise<never> {
    const client = this.#options.postgres.newClient();
    const ended = Promise.withResolvers<never>();
    ended.promise.catch(() => undefined);
    client.once("end", () => {
      ended.reject(new Error("the connection ended"));
    });
    const onAbort = (): void => {
      ended.reject(signal.reason as Error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    client.on("notification", ({ channel, payload }) => {
      if (channel === COMMIT_CHANNEL) this.#signalCommit(Number(payload));
      else if (channel === REGISTRY_CHANNEL) this.#signalRegistry();
    });
    try {
      await Promise.race([client.connect(), ended.promise]);
      await Promise.race([client.query(`LISTEN ${COMMIT_CHANNEL}; LISTEN ${REGISTRY_CHANNEL}`), ended.promise]);
      for (let isFirst = true; ; isFirst = false) {
        // Also what was missed while there was no connection, and after a restored backup a lower head.
        const head = await Promise.race([headOf(client), ended.promise, timeLimit(signal)]);
        if (head < this.#signalled) this.#signalled = 0;
        this.#signalCommit(head);
        if (isFirst) this.#signalRegistry();
        await Promise.race([sleep(CHECK_INTERVAL_MS, signal), ended.promise]);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      void client.end().catch(() => undefined);
    }
  }
}

/** Tells the processes on this PostgreSQL that the registry or the tokens changed; for a program that is none of them. */
export async function notifyRegistryChange(pool: pg.Pool): Promise<void> {
  await pool.query("SELECT pg_notify($1, '')", [REGISTRY_CHANNEL]);
}

async function headOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ position: string }>("SELECT position FROM emcache.head");
  return Number(rows[0]?.position ?? 0);
}

async function timeLimit(signal: AbortSignal): Promise<never> {
  await sleep(NOTIFY_TIMEOUT_MS, signal);
  throw new Error("the connection is silent");
}
