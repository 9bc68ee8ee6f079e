import type { TestPostgres } from "../../../../../test/support/test-postgres.ts";
import { ComponentHealth } from "../../runtime/component-health.ts";
import { createLogger } from "../../runtime/logger.ts";
import type { CaptureBatch, CaptureLog } from "../../source/capture-log.ts";
import type { LogRow } from "../../source/log-row.ts";
import { OplogReader, type PageRow } from "../oplog-reader.ts";
import { Postgres } from "../postgres.ts";
import { SourceLease } from "../source-lease.ts";

export const testLogger = createLogger({ level: "fatal" });

/** A migrated database and what tests do with it. */
export interface LogFixture {
  readonly uri: string;
  readonly postgres: Postgres;
  readonly reader: OplogReader;
  lease(
    sourceName: string,
    options?: { readonly takeoverMs?: number; readonly postgres?: Postgres },
  ): Promise<SourceLease>;
  /** A log for a source that nobody else has, loaded. */
  log(sourceName: string): Promise<CaptureLog>;
  readAll(limit?: number): Promise<PageRow[]>;
  /** A further pool, as another process would have. */
  connect(uri?: string): Promise<Postgres>;
  stop(): Promise<void>;
}

export function testSignal(): AbortSignal {
  return AbortSignal.timeout(60_000);
}

export async function startLogFixture(server: TestPostgres): Promise<LogFixture> {
  const uri = await server.newDatabase();
  const made: Postgres[] = [];
  const leases: SourceLease[] = [];
  async function connect(given = uri): Promise<Postgres> {
    const postgres = new Postgres({
      uri: given,
      dataDir: "/nonexistent",
      minConnections: 1,
      maxConnections: 10,
      connectionTimeoutS: 10,
      logger: testLogger,
      health: new ComponentHealth("postgres"),
    });
    made.push(postgres);
    await postgres.start();
    await postgres.ready(testSignal());
    return postgres;
  }
  const own = await connect();
  const reader = new OplogReader(own.pool);
  const fixture: LogFixture = {
    uri,
    postgres: own,
    reader,
    connect,
    async lease(sourceName, { takeoverMs = 500, postgres = own } = {}) {
      const options = {
        postgres,
        sourceName,
        logger: testLogger,
        takeoverMs,
        onCommit: () => undefined,
        onRegistryChange: () => undefined,
      };
      const lease = await SourceLease.acquire(options, testSignal());
      leases.push(lease);
      return lease;
    },
    async log(sourceName) {
      const log = (await fixture.lease(sourceName)).log();
      await log.load(testSignal());
      return log;
    },
    async readAll(limit = 1_000) {
      const rows: PageRow[] = [];
      for (let after = 0; ;) {
        const page = await reader.page({ after, limit, signal: testSignal() });
        rows.push(...page.rows);
        after = page.position;
        if (!page.full) return rows;
      }
    },
    async stop() {
      await Promise.all(leases.map((lease) => lease.release()));
      await Promise.all(made.map((postgres) => postgres.stop(AbortSignal.timeout(5_000))));
    },
  };
  return fixture;
}

/** An upsert; its data names it. */
export function upsert(docId: string, version = 1): LogRow {
  return {
    version,
    operation: "upsert",
    docId,
    idType: 2,
    origin: "stream",
    transaction: null,
    transactionEnd: false,
    data: JSON.stringify([docId]),
  };
}

/** A bracket of a copy. */
export function bracket(operation: "sync_start" | "sync_end", version: number): LogRow {
  return { ...upsert("", version), operation, idType: 0, origin: "copy", data: null };
}

export function batchOf(rows: readonly LogRow[], rest: Partial<CaptureBatch> = {}): CaptureBatch {
  return { rows, rejects: [], checkpoint: null, copies: [], ...rest };
}

/** A checkpoint whose token is this text. */
export function checkpointAt(token: string): CaptureBatch["checkpoint"] {
  return { resumeToken: Buffer.from(token), clusterTime: 7n, lookupHorizon: null };
}

/** The checkpoint's token as text, as another process would load it. */
export async function storedToken(fixture: LogFixture, sourceName: string): Promise<string | null> {
  const { rows } = await fixture.postgres.pool.query<{ resume_token: Buffer | null }>(
    "SELECT resume_token FROM emcache.source_checkpoint WHERE source = $1",
    [sourceName],
  );
  return rows[0]?.resume_token?.toString() ?? null;
}

/** Waits until a condition holds; no fixed sleep. */
export async function until(condition: () => Promise<boolean> | boolean, timeoutMs = 15_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
