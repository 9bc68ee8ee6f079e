import type { Entity } from "@emcache/protocol";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Postgres } from "../../oplog/postgres.ts";
import { PostgresEntityStore } from "../../oplog/postgres-entity-store.ts";
import { SourceLease } from "../../oplog/source-lease.ts";
import { ComponentHealth } from "../../runtime/component-health.ts";
import { createLogger } from "../../runtime/logger.ts";
import type { CaptureLog } from "../../source/capture-log.ts";
import type { LogRow } from "../../source/log-row.ts";
import type { CacheRecord } from "../cache-set.ts";

const STREAM_ROW: Omit<LogRow, "version"> = {
  operation: "upsert",
  docId: "",
  idType: 2,
  origin: "stream",
  transaction: null,
  transactionEnd: false,
  data: null,
};

const BRACKET = { docId: "", idType: 0, origin: "copy" } as const;

/** A real log in an embedded PostgreSQL of its own, with a source that the test plays. */
export class TestLog {
  readonly directory = mkdtempSync(join(tmpdir(), "emcache-replicate-"));
  readonly postgres: Postgres;
  readonly store: PostgresEntityStore;
  readonly logger = createLogger({ level: process.env["EMCACHE_TEST_LOG"] ?? "silent" });
  readonly #signal = new AbortController().signal;
  readonly #onCommits = new Set<(head: number) => void>();
  #lease: SourceLease | null = null;
  #log: CaptureLog | null = null;
  head = 0;

  constructor() {
    this.postgres = new Postgres({
      uri: "embedded",
      dataDir: join(this.directory, "data"),
      minConnections: 1,
      maxConnections: 10,
      connectionTimeoutS: 10,
      logger: this.logger,
      health: new ComponentHealth("postgres"),
    });
    this.store = new PostgresEntityStore({ pool: this.postgres.pool, onChange: () => undefined });
  }

  async start(): Promise<void> {
    // As root, the server runs as the user `postgres`, who must get to its data.
    chmodSync(this.directory, 0o755);
    await this.postgres.start();
    await this.postgres.ready(AbortSignal.timeout(60_000));
    this.#lease = await SourceLease.acquire(
      {
        postgres: this.postgres,
        sourceName: "main",
        logger: this.logger,
        onCommit: (head) => this.#committed(head),
        onRegistryChange: () => undefined,
      },
      this.#signal,
    );
    this.#log = this.#lease.log();
    await this.#log.load(this.#signal);
  }

  async stop(): Promise<void> {
    await this.#lease?.release();
    await this.postgres.stop(AbortSignal.timeout(20_000));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A cache directory that no other test uses. */
  cacheDir(): string {
    return mkdtempSync(join(this.directory, "caches-"));
  }

  onCommit(listener: (head: number) => void): () => void {
    this.#onCommits.add(listener);
    return () => this.#onCommits.delete(listener);
  }

  /** Registers an entity with one column `v`; a name that exists gets another version. */
  async entity(name: string, column = "v"): Promise<Entity> {
    const definition = {
      name,
      client: "main",
      source: name,
      shape: {
        id_column: { path: "$._id", type: "string" as const },
        columns: [{ name: column, type: "integer" as const, path: `$.${column}` }],
        indexes: [{ name: `${name}_${column}`, columns: [column] }],
      },
    };
    const exists = (await this.records()).some((record) => record.entity.name === name);
    const record = exists
      ? await this.store.update(name, definition, this.#signal)
      : await this.store.create(definition, this.#signal);
    return record.entity;
  }

  async delete(name: string): Promise<void> {
    await this.store.delete(name, this.#signal);
  }

  /** Versions that are pending or live. */
  async records(): Promise<CacheRecord[]> {
    return (await this.store.list(this.#signal)).filter((record) => record.state !== "retired");
  }

  /** Appends one batch; resolves with the log's head. */
  async append(...rows: LogRow[]): Promise<number> {
    if (this.#log === null) throw new TypeError("the log was not started");
    const batch = { rows, rejects: [], checkpoint: null, copies: [] };
    const { firstPosition } = await this.#log.append(batch, this.#signal);
    this.#committed(firstPosition + rows.length - 1);
    return this.head;
  }

  /** Appends a whole copy of a version in three batches. */
  async copy({ id }: Entity, values: Readonly<Record<string, number>>): Promise<number> {
    await this.append(syncStart(id));
    await this.append(...Object.entries(values).map(([docId, value]) => copied(id, docId, value)));
    return this.append(syncEnd(id));
  }

  /** Drops the log below a position, as retention does it. */
  async dropBelow(position: number): Promise<void> {
    await this.postgres.pool.query(
      `WITH below AS (DELETE FROM emcache.batch WHERE first_position + row_count <= $1 RETURNING batch_id, first_position, tag),
        rows AS (DELETE FROM emcache.oplog o USING below b WHERE o.batch_id = b.batch_id)
       UPDATE emcache.head SET floor = (SELECT min(first_position) FROM emcache.batch WHERE first_position + row_count > $1),
         floor_tag = coalesce((SELECT tag FROM below ORDER BY first_position DESC LIMIT 1), floor_tag)`,
      [position],
    );
  }

  #committed(head: number): void {
    this.head = Math.max(this.head, head);
    for (const listener of this.#onCommits) listener(this.head);
  }
}

export function upsert(version: number, docId: string, value: number, more: Partial<LogRow> = {}): LogRow {
  return { ...STREAM_ROW, version, docId, data: `[${value}]`, ...more };
}

export function copied(version: number, docId: string, value: number): LogRow {
  return upsert(version, docId, value, { origin: "copy" });
}

export function remove(version: number, docId: string): LogRow {
  return { ...STREAM_ROW, version, operation: "delete", docId };
}

export function syncStart(version: number): LogRow {
  return { ...STREAM_ROW, ...BRACKET, version, operation: "sync_start" };
}

export function syncEnd(version: number): LogRow {
  return { ...STREAM_ROW, ...BRACKET, version, operation: "sync_end" };
}
