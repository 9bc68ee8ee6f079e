import type { TestPostgres } from "../../../../../test/support/test-postgres.ts";
import type { CaptureLog } from "../../source/capture-log.ts";
import type { OplogPage } from "../oplog-page.ts";
import { type BatchFacts, OplogReader, type PageRequest } from "../oplog-reader.ts";
import { PostgresCaptureLog } from "../postgres-capture-log.ts";
import { takeLease } from "../take-lease.ts";
import { startLogFixture, storedToken, testSignal } from "./log-fixture.ts";
import type { LogNetwork } from "./log-network.ts";
import { MemoryCaptureLog } from "./memory-capture-log.ts";
import { MemoryOplog } from "./memory-oplog.ts";
import { startTcpProxy } from "./tcp-proxy.ts";

/** What happens to an append's message: lost on its way, answered into a broken connection, or on its way for long. */
export type MessageFault = "lost" | "answer_lost" | "held";

/** A log and what a test does with it, wherever it is stored. */
export interface LogUnderTest {
  /** Takes the source's lease, from whoever has it. The log is not loaded. */
  takeLog(source: string): Promise<CaptureLog>;
  /** The next appends' messages fare so; those after them arrive. */
  breakNext(...faults: MessageFault[]): void;
  /** Messages that were held arrive now; resolves when the log has dealt with them. */
  deliverHeld(): Promise<void>;
  page(request: Omit<PageRequest, "signal">): Promise<OplogPage>;
  head(): Promise<{ head: number; floor: number }>;
  batchAt(position: number): Promise<BatchFacts | null>;
  latestSyncStart(version: number): Promise<{ position: number; complete: boolean } | null>;
  /** Text of the stored resume token. */
  token(source: string): Promise<string | null>;
  /** Drops what ends below a position, as retention does. */
  dropBelow(position: number): Promise<void>;
  /** Loses the batch that holds a position, as no correct store does. */
  lose(position: number): Promise<void>;
  stop(): Promise<void>;
}

const nothing = (): void => undefined;
const told = { onCommit: nothing, onRegistryChange: nothing, onLeaseLost: nothing };

/** The log in memory. */
export async function memoryLog(): Promise<LogUnderTest> {
  const oplog = new MemoryOplog("memory");
  const faults: MessageFault[] = [];
  const held: (() => unknown)[] = [];
  const network: LogNetwork = {
    async call(what, execute) {
      const fault = what === "append" ? faults.shift() : undefined;
      if (fault === undefined) return execute();
      if (fault === "held") held.push(execute);
      if (fault === "answer_lost") execute();
      throw new Error("broken");
    },
  };
  return {
    takeLog: async (source) =>
      new MemoryCaptureLog({ ...told, sourceName: source, epoch: oplog.takeLease(source), oplog, network }),
    breakNext: (...next) => faults.push(...next),
    deliverHeld: async () => {
      for (const execute of held.splice(0)) {
        try {
          execute();
        } catch {
          // Nobody hears the refusal.
        }
      }
    },
    page: async (request) => oplog.page(request),
    head: async () => oplog.head(),
    batchAt: async (position) => oplog.batchAt(position),
    latestSyncStart: async (version) => oplog.latestSyncStart(version),
    token: async (source) => {
      const token = oplog.checkpointOf(source)?.resumeToken ?? null;
      return token === null ? null : Buffer.from(token).toString();
    },
    dropBelow: async (position) => oplog.dropBelow(position),
    lose: async (position) => oplog.lose(position),
    stop: async () => undefined,
  };
}

/** The log in PostgreSQL; appends go through a proxy that breaks their connections. */
export async function postgresLog(server: TestPostgres): Promise<LogUnderTest> {
  const fixture = await startLogFixture(server);
  const proxy = await startTcpProxy(fixture.uri);
  const { pool } = await fixture.connect(proxy.uri);
  const reader = new OplogReader(fixture.postgres.pool);
  const faults: MessageFault[] = [];
  proxy.decide = (piece) => {
    const fault = piece.includes("; COMMIT") ? faults.shift() : undefined;
    if (fault === undefined) return "forward";
    return fault === "held" ? "hold" : fault === "lost" ? "cut" : "forward_and_cut";
  };
  const query = async (text: string, values: unknown[] = []): Promise<{ epoch: string; beat: string }[]> =>
    (await fixture.postgres.pool.query<{ epoch: string; beat: string }>(text, values)).rows;
  return {
    async takeLog(source) {
      await query("INSERT INTO emcache.source_checkpoint (source) VALUES ($1) ON CONFLICT DO NOTHING", [source]);
      await query("INSERT INTO emcache.source_lease (source) VALUES ($1) ON CONFLICT DO NOTHING", [source]);
      const [row] = await query("SELECT epoch, beat FROM emcache.source_lease WHERE source = $1", [source]);
      if (row === undefined) throw new TypeError("no lease");
      const seen = { source, ...row, holder: "nobody", released: true };
      const epoch = await takeLease(fixture.postgres, seen, testSignal());
      if (epoch === null) throw new TypeError("the lease was not given");
      return new PostgresCaptureLog({ ...told, sourceName: source, epoch, pool });
    },
    breakNext: (...next) => faults.push(...next),
    async deliverHeld() {
      proxy.deliverHeld();
      for (;;) {
        const active = await query(
          "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()",
        );
        if (active.length === 0) return;
      }
    },
    page: (request) => reader.page({ ...request, signal: testSignal() }),
    head: () => reader.head(),
    batchAt: (position) => reader.batchAt(position),
    latestSyncStart: (version) => reader.latestSyncStart(version),
    token: (source) => storedToken(fixture, source),
    dropBelow: async (position) => {
      await query(
        `WITH below AS (DELETE FROM emcache.batch WHERE first_position + row_count <= $1 RETURNING batch_id, first_position, tag),
           rows AS (DELETE FROM emcache.oplog o USING below b WHERE o.batch_id = b.batch_id)
         UPDATE emcache.head SET
           floor = coalesce((SELECT min(first_position) FROM emcache.batch WHERE first_position + row_count > $1), position + 1),
           floor_tag = coalesce((SELECT tag FROM below ORDER BY first_position DESC LIMIT 1), floor_tag)`,
        [position],
      );
    },
    lose: async (position) => {
      await query("DELETE FROM emcache.batch WHERE first_position <= $1 AND first_position + row_count > $1", [
        position,
      ]);
    },
    async stop() {
      await fixture.stop();
      await proxy.stop();
    },
  };
}
