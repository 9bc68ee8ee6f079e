import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { EmcacheError, type EntityDefinition } from "@emcache/protocol";
import pg from "pg";
import type { ComponentHealth } from "../runtime/component-health.ts";
import { messageOf } from "../runtime/error-message.ts";
import type { Logger } from "../runtime/logger.ts";
import { retryForever } from "../runtime/retry.ts";
import type { Service } from "../runtime/service.ts";
import { untilAborted } from "../runtime/until-aborted.ts";
import { restoreDefinitions } from "./definitions-to-restore.ts";
import { EmbeddedPostgres } from "./embedded-postgres.ts";
import { migrate } from "./migrate.ts";
import { allMigrations } from "./migrations/all-migrations.ts";
import { RECORD_INTERVAL_MS, forgetProcess, recordProcess } from "./process-records.ts";
import { withClient } from "./with-client.ts";

/** How often an idle process looks whether the server is still there. */
const CHECK_INTERVAL_MS = 2_000;

/** How long that look may take. */
const CHECK_TIMEOUT_MS = 10_000;

/** A stop doesn't wait for an absent server. */
const FORGET_TIMEOUT_MS = 1_000;

/** Migrations wait for those of another process. */
const MIGRATE_TIMEOUT_MS = 120_000;

export interface PostgresOptions {
  /** `postgres://…`, or `embedded` for a private server in `dataDir`. */
  readonly uri: string;
  readonly dataDir: string;
  /** Connections that are kept open. */
  readonly minConnections: number;
  readonly maxConnections: number;
  readonly connectionTimeoutS: number;
  readonly logger: Logger;
  readonly health: ComponentHealth;
  /** The entities as far as they are known without PostgreSQL, for an embedded one that has to be set aside. */
  readonly definitions?: () => readonly EntityDefinition[];
}

/**
 * The connection to PostgreSQL: the pool, the embedded server where that is configured, the schema. While the server is
 * absent it keeps trying, and says so in `/health`; after each absence the schema is looked at again, because what
 * returns may be a restored backup.
 */
export class Postgres implements Service {
  readonly name = "postgres";
  readonly pool: pg.Pool;
  /** Names this process's connections, for the operator and for whoever takes a lease over. At most 63 bytes. */
  readonly applicationName: string;
  readonly #options: PostgresOptions;
  /** How to connect, as a plain object: a worker thread makes a pool of its own from it. */
  readonly connection: pg.ClientConfig;
  readonly #embedded: EmbeddedPostgres | null;
  readonly #end = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #ready = Promise.withResolvers<void>();
  #lookNow: () => void = () => undefined;
  #recordedAtMs = -Infinity;

  constructor(options: PostgresOptions) {
    this.#options = options;
    this.applicationName = `emcache ${hostname()
      .replaceAll(/[^\w.-]/g, "")
      .slice(0, 30)} ${process.pid} ${randomBytes(4).toString("hex")}`;
    this.#embedded =
      options.uri === "embedded"
        ? new EmbeddedPostgres({
            dataDir: options.dataDir,
            connectionsMax: options.maxConnections,
            logger: options.logger,
            ...(options.definitions === undefined ? {} : { definitions: options.definitions }),
          })
        : null;
    this.connection = {
      ...(this.#embedded === null ? { connectionString: options.uri } : this.#embedded.connection),
      application_name: this.applicationName,
      connectionTimeoutMillis: options.connectionTimeoutS * 1000,
      // A server that vanished without a farewell is noticed by the operating system.
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    };
    this.pool = new pg.Pool({
      ...this.connection,
      min: options.minConnections,
      max: options.maxConnections,
      idleTimeoutMillis: 30_000,
    });
    // The pool listens to a connection only while it is idle: one that breaks between its opening and its first use
    // (`#warm`) ended the process. Whoever uses it sees the failure of what it asks.
    this.pool.on("connect", (client) => client.on("error", () => undefined));
    // An idle connection broke: look at once instead of at the next interval.
    this.pool.on("error", () => {
      this.#lookNow();
    });
  }

  /** A connection outside of the pool, for what needs one of its own (LISTEN, lease). Its owner connects and ends it. */
  newClient(): pg.Client {
    const client = new pg.Client(this.connection);
    // A connection that breaks while nobody waits on it must not end the process; its owner sees `end`.
    client.on("error", () => undefined);
    return client;
  }

  /** Resolves once the server is there and its schema is up to date; at once where it was so at the last look. */
  async ready(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await untilAborted(this.#ready.promise, signal);
  }

  /** Resolves after the first attempt, whether it succeeded or not. */
  async start(): Promise<void> {
    const attempted = Promise.withResolvers<void>();
    this.#running = this.#run(attempted.resolve).catch((error: unknown) => {
      if (!this.#end.signal.aborted) this.#options.health.degraded(error);
    });
    await Promise.race([attempted.promise, this.#running]);
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#end.abort();
    await this.#running;
    this.#ready.promise.catch(() => undefined);
    if (this.#recordedAtMs !== -Infinity) {
      await forgetProcess(this.pool, this.applicationName, { signal, timeoutMs: FORGET_TIMEOUT_MS }).catch(
        () => "its record ends by itself",
      );
    }
    await Promise.race([this.pool.end().catch(() => undefined), abortOf(signal)]);
    await this.#embedded?.stop(signal);
    this.#options.health.stopped();
  }

  async #run(onAttempt: () => void): Promise<void> {
    const { signal } = this.#end;
    for (;;) {
      await retryForever(() => this.#bringUp(signal), {
        signal,
        delayMsMin: 100,
        delayMsMax: 5_000,
        onError: (error, attempt, delayMs) => {
          this.#options.health.degraded(error, { attempt, delayMs });
          this.#options.logger.warn({ event: "postgres_absent", attempt, delayMs }, messageOf(error));
          onAttempt();
        },
      });
      await this.#look(signal).catch(() => "the next look says so");
      this.#options.logger.info({ event: "postgres_ready" }, "PostgreSQL is ready");
      this.#ready.resolve();
      onAttempt();
      const reason = await this.#untilAbsent(signal);
      this.#ready = Promise.withResolvers<void>();
      this.#options.health.degraded(reason);
    }
  }

  async #bringUp(signal: AbortSignal): Promise<void> {
    await this.#embedded?.start(signal);
    const schemaVersion = await migrate(this.pool, { signal, timeoutMs: MIGRATE_TIMEOUT_MS });
    if (schemaVersion > allMigrations.length) {
      this.#options.logger.warn(
        { event: "schema_newer", schemaVersion, knownVersion: allMigrations.length },
        "a newer EMCache has migrated the database; this one goes on beside it, and is to be upgraded too",
      );
    }
    if (this.#embedded !== null) {
      await restoreDefinitions(this.#options.dataDir, { pool: this.pool, logger: this.#options.logger, signal });
    }
    this.#recordedAtMs = -Infinity;
    await this.#warm();
  }

  /** Says from time to time that this process runs and what it knows: an upgrade that it could not bear waits for it. */
  async #record(signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#recordedAtMs < RECORD_INTERVAL_MS) return;
    await recordProcess(this.pool, this.applicationName, { signal, timeoutMs: CHECK_TIMEOUT_MS });
    this.#recordedAtMs = performance.now();
  }

  /**
   * A server that answers may still take no writes: a standby after a failover, or one that its operator made read-only.
   * Throws where it is absent, or is another one than before: a restart may have gone by between two looks.
   */
  async #look(signal: AbortSignal): Promise<void> {
    const { rows } = await withClient(this.pool, { signal, timeoutMs: CHECK_TIMEOUT_MS }, (client) =>
      client.query<{ standby: boolean; read_only: boolean; has_schema: boolean }>(
        `SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::boolean AS read_only,
           to_regclass('emcache.schema_migration') IS NOT NULL AS has_schema`,
      ),
    );
    const { health } = this.#options;
    if (rows[0]?.has_schema !== true) {
      throw new EmcacheError("postgres_unavailable", "PostgreSQL has no schema emcache any more; it is made anew");
    }
    if (!rows[0].read_only) {
      await this.#record(signal);
      return health.healthy();
    }
    const what = rows[0].standby ? "it is a standby" : "it is set to be read-only (default_transaction_read_only)";
    health.degraded(new EmcacheError("postgres_unavailable", `This PostgreSQL takes no writes: ${what}`));
  }

  /** Opens the connections that are to be kept, so that the first work after a start doesn't wait for them. */
  async #warm(): Promise<void> {
    const clients = await Promise.allSettled(
      Array.from({ length: this.#options.minConnections }, () => this.pool.connect()),
    );
    for (const client of clients) if (client.status === "fulfilled") client.value.release();
  }

  /** Looks from time to time, and at once when a connection broke or the embedded server ended. The reason is returned. */
  async #untilAbsent(signal: AbortSignal): Promise<unknown> {
    for (;;) {
      await this.#interval(signal);
      try {
        await this.#look(signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#options.logger.warn({ event: "postgres_lost" }, messageOf(error));
        return error;
      }
    }
  }

  #interval(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        end();
        reject(signal.reason as Error);
      };
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#lookNow = () => undefined;
      };
      const wake = (): void => {
        end();
        resolve();
      };
      const timer = setTimeout(wake, CHECK_INTERVAL_MS);
      this.#lookNow = wake;
      if (this.#embedded !== null) void this.#embedded.exited.then(wake);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else
      signal.addEventListener(
        "abort",
        () => {
          resolve();
        },
        { once: true },
      );
  });
}
